#!/usr/bin/env bash
# halcmd on four GPUs of one machine of a SLURM cluster: a warm start, a classifier, scores.
#
#   sbatch examples/slurm/train.sh Labels/particles.star
#
# Labels/particles.star comes from halcmd label-import. The results are Pretrain/, Train/ and Score/.
# A job that ran out of time goes on where it was when it is submitted again.
#
# One task per GPU. What your cluster asks for besides (partition, account) stands in its own docs.
#SBATCH --job-name=halcmd
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --output=halcmd-%j.log
set -euo pipefail
particles=${1:?the particle table}

# How halcmd was installed; a cluster's own modules, if any, come before it.
# source /home/me/halcmd-env/bin/activate

# As many threads as there are CPUs for each task.
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-8}

# srun starts every task; the tasks find each other and share the work of one job. What one of them
# cannot go on without ends them all (--kill-on-bad-exit).
together=(srun --kill-on-bad-exit=1 --cpus-per-task="$OMP_NUM_THREADS")

if [ ! -e Pretrain/model.safetensors ]; then
    "${together[@]}" halcmd pretrain --i "$particles" --resume --o Pretrain/
fi
if [ ! -e Train/model.safetensors ]; then
    "${together[@]}" halcmd train --i "$particles" --init-model Pretrain/model.safetensors \
        --resume --o Train/
fi
"${together[@]}" halcmd score --i Train/particles.star --model Train/model.safetensors --overwrite --o Score/

# Everything else is quick, and one process does it: no srun.
halcmd query --i Score/particles.star --model Train/model.safetensors --n 32 --o Query/
