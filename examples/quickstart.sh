#!/usr/bin/env bash
# The whole loop on simulated tomograms: a few labels, a classifier, better questions, again.
#
#   bash examples/quickstart.sh [--small] [FOLDER]
#
# FOLDER (default: quickstart) becomes a project like one of RELION: a folder per step.
# --small: three classes, about a minute. Here the known truth of the simulation plays the annotator;
# with your own data, a person fills in the last column of Query1/query.csv instead.
set -euo pipefail

folder=quickstart
scene=(--classes 6 --per-class 80 --tomograms 6 --box 24 --angpix 12 --snr 0.05)
box=24 per_round=30 rounds=4
# To be quick. Without these options, train calibrates its probabilities on folds of the labels first,
# and learns from the unlabelled particles too, which takes several times as long and is better.
training=(--validation 0 --no-semi-supervised)
for word in "$@"; do
    case $word in
        --small)
            scene=(--classes 3 --per-class 24 --tomograms 4 --box 24 --angpix 12 --snr 0.1)
            box=24 per_round=9 rounds=3
            training+=(--steps 60)
            ;;
        -*)
            echo "usage: bash examples/quickstart.sh [--small] [FOLDER]" >&2
            exit 2
            ;;
        *) folder=$word ;;
    esac
done

if [ -e "$folder/Simulate" ]; then
    echo "$folder holds an earlier run: remove it (rm -r $folder) or name another folder" >&2
    exit 1
fi
mkdir -p "$folder"
cd "$folder"

# Data: tomograms with picks, and the class of each pick in a file of its own.
halcmd simulate "${scene[@]}" --o Simulate/
halcmd extract --i Simulate/picks.star --tomograms Simulate/tomograms.star --box "$box" --o Extract/

table=$(printf '%6s  %8s  %s' labels accuracy "balanced accuracy")
for round in $(seq "$rounds"); do
    # Which particles to label: at random at first, then those that HAL wants.
    if [ "$round" = 1 ]; then
        halcmd query --i Extract/particles.star --strategy random --n "$per_round" --o Query1/
    else
        last=$((round - 1))
        halcmd query --i "Score$last/particles.star" --model "Train$last/model.safetensors" \
            --strategy hal --n "$per_round" --o "Query$round/"
    fi
    halcmd label-import --i "Query$round/particles.star" --labels Simulate/truth.star \
        --only "Query$round/query.star" --o "Label$round/"

    # Learn from the labels, look at every particle.
    halcmd train --i "Label$round/particles.star" "${training[@]}" --o "Train$round/"
    halcmd score --i "Train$round/particles.star" --model "Train$round/model.safetensors" \
        --o "Score$round/"

    # How good is it? Test particles were never trained on or asked for.
    halcmd evaluate --i "Score$round/particles.star" --truth Simulate/truth.star \
        --o "Evaluate$round/"
    accuracy=$(awk '$1 == "accuracy" { print $2; exit }' "Evaluate$round/evaluation.star")
    balanced=$(awk '$1 == "balanced_accuracy" { print $2; exit }' "Evaluate$round/evaluation.star")
    table+=$(printf '\n%6d  %8s  %17s' "$((round * per_round))" "$accuracy" "$balanced")
done

# The clean classes, as STAR files that open in RELION.
halcmd select --i "Score$rounds/particles.star" --min-probability 0.5 --by-class --o Select/

echo
echo "$table"
echo
echo "confusion of the classes: $folder/Evaluate$rounds/confusion.png"
echo "clean particles: $folder/Select/particles.star"
