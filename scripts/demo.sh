#!/usr/bin/env bash
# From nothing to a trained, evaluated network on phantom ultrasound: some 10 minutes on 2 cores, half of them
# for installing. A second run skips what is done. Needs no GPU and no data.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
demo=runs/demo
configs=bundles/busi_attention_unet/configs
small="--image_size [96,96] --epochs ${DEMO_EPOCHS:-100}"

if [ ! -e "$demo/phantoms/normal" ]; then
    python scripts/make_phantoms.py busi --output_dir "$demo/phantoms.part" --number 240
    mv "$demo/phantoms.part" "$demo/phantoms"
fi
if [ ! -e "$demo/dataset/datalist.json" ]; then
    python scripts/prepare_busi.py --source_dir "$demo/phantoms" --dataset_dir "$demo/dataset"
fi
if [ ! -e "$demo/train/metrics.csv" ]; then
    resume=false
    if [ -e "$demo/train/models/checkpoint.pt" ]; then resume=true; fi
    # shellcheck disable=SC2086
    python -m monai.bundle run training --config_file "$configs/train.json" \
        --dataset_dir "$demo/dataset" --output_dir "$demo/train" --run_name demo --resume $resume $small
fi
if [ ! -e "$demo/test/metrics.csv" ]; then
    # shellcheck disable=SC2086
    python -m monai.bundle run evaluating --config_file "['$configs/train.json','$configs/evaluate.json']" \
        --dataset_dir "$demo/dataset" --ckpt_dir "$demo/train/models" --output_dir "$demo/test" --run_name demo-test $small
fi
python scripts/show_metrics.py "$demo/test/metrics.csv"
cat <<END

Phantom figures: they show that the software works, and say nothing about patients.
Figures:  $demo/test/figures (overlays.png first)  and  $demo/train/figures/training_curves.png
Browse:   .venv/bin/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db    then open http://127.0.0.1:5000
END
