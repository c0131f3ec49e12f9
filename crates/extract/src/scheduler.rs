//! What the scheduler that started this process says of its share.

use crate::error::{Error, Result};
use crate::worker::{Worker, WorkerChoice};

/// Counts the tasks of an array as sbatch(1) numbers them; `salloc` and plain jobs set none of these.
const SLURM: &str = "SLURM_ARRAY_TASK_ID";
/// Of a pod of an indexed job, which is told no more than that: `completions` stands in the job alone.
const KUBERNETES: &str = "JOB_COMPLETION_INDEX";
/// Rank and size as Open MPI's `mpirun`, and as MPICH's, Intel's and Cray's launchers (PMI) set them. PMIx has a
/// variable for the rank alone.
const LAUNCHERS: [[&str; 2]; 2] =
    [["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"], ["PMI_RANK", "PMI_SIZE"]];

/// A worker, and which flag or variables made it one.
pub(crate) type Stated = (Worker, String);

/// The share that `--worker` asks for, else that the scheduler's variables state; none for a process on its own, which
/// one worker of one is too.
pub(crate) fn share(
    choice: Option<WorkerChoice>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Stated>> {
    let stated = match choice {
        None => from(&env)?,
        Some(WorkerChoice { index: None, count }) => Some(numbered(count, &env)?),
        Some(WorkerChoice { index: Some(index), count }) => {
            Worker::new(index, count).map(|worker| (worker, "--worker".to_owned()))
        }
    };
    Ok(stated.filter(|(worker, _)| worker.count() > 1))
}

/// I and N from the variables.
fn from(env: &impl Fn(&str) -> Option<String>) -> Result<Option<Stated>> {
    let mut all: Vec<Stated> = slurm(env)?.into_iter().collect();
    for [rank, size] in LAUNCHERS {
        all.extend(launcher(rank, size, env)?);
    }
    // `srun` or `mpirun` of one process inside an array's task says nothing
    all.retain(|(worker, _)| worker.count() > 1);
    if env(KUBERNETES).is_some() {
        return Err(Error::WorkersUncounted(KUBERNETES));
    }
    agree(all.into_iter())
}

/// I from the variables, as it stands there: what `sbatch --array=2` runs again of four is 2/4 still.
fn numbered(count: usize, env: &impl Fn(&str) -> Option<String>) -> Result<Stated> {
    let mut all = Vec::new();
    for variable in [SLURM, KUBERNETES] {
        if let Some(index) = number(variable, env)? {
            all.push((variable, index));
        }
    }
    for [rank, size] in LAUNCHERS {
        if let Some((worker, _)) = launcher(rank, size, env)?.filter(|(w, _)| w.count() > 1) {
            all.push((rank, worker.index()));
        }
    }
    let stated = all.into_iter().map(|(variable, index)| {
        let worker = Worker::new(index, count)
            .ok_or_else(|| wrong(variable, index, format!("below {count}, as --worker says")))?;
        Ok((worker, format!("{variable} = {index}, --worker")))
    });
    agree(stated.collect::<Result<Vec<_>>>()?.into_iter())?.ok_or(Error::WorkerUnnumbered(count))
}

/// The first, which the others must equal.
fn agree(mut all: impl Iterator<Item = Stated>) -> Result<Option<Stated>> {
    let Some((worker, said)) = all.next() else { return Ok(None) };
    match all.find(|(other, _)| *other != worker) {
        None => Ok(Some((worker, said))),
        Some((_, other)) => Err(Error::WorkersContradict { first: said, second: other }),
    }
}

/// The place of an array's task among its tasks.
fn slurm(env: &impl Fn(&str) -> Option<String>) -> Result<Option<Stated>> {
    let Some(id) = number(SLURM, env)? else { return Ok(None) };
    let other = |variable| {
        number(variable, env)?.ok_or(Error::VariableMissing { given: SLURM, missing: variable })
    };
    let count = other("SLURM_ARRAY_TASK_COUNT")?;
    let (least, most) = (other("SLURM_ARRAY_TASK_MIN")?, other("SLURM_ARRAY_TASK_MAX")?);
    let step = other("SLURM_ARRAY_TASK_STEP")?.max(1);
    if count.checked_sub(1).and_then(|gaps| gaps.checked_mul(step)) != most.checked_sub(least) {
        return Err(wrong(
            "SLURM_ARRAY_TASK_COUNT",
            count,
            format!("as many as {least} to {most} by {step} makes"),
        ));
    }
    let index = id.checked_sub(least).filter(|distance| distance % step == 0);
    let worker = index.and_then(|distance| Worker::new(distance / step, count));
    match worker {
        Some(worker) => {
            Ok(Some((worker, format!("{SLURM} = {id}, SLURM_ARRAY_TASK_COUNT = {count}"))))
        }
        None => Err(wrong(SLURM, id, format!("one of {least} to {most} by {step}"))),
    }
}

/// The place of a process among those that one command started.
fn launcher(
    rank: &'static str,
    size: &'static str,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Stated>> {
    match (number(rank, env)?, number(size, env)?) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::VariableMissing { given: rank, missing: size }),
        (None, Some(_)) => Err(Error::VariableMissing { given: size, missing: rank }),
        (Some(index), Some(count)) => match Worker::new(index, count) {
            Some(worker) => Ok(Some((worker, format!("{rank} = {index}, {size} = {count}")))),
            None => Err(wrong(rank, index, format!("below {size}, {count}"))),
        },
    }
}

fn number(variable: &'static str, env: &impl Fn(&str) -> Option<String>) -> Result<Option<usize>> {
    let Some(text) = env(variable) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| wrong(variable, text, "a number from 0".to_owned()))
}

fn wrong(variable: &'static str, value: impl ToString, expected: String) -> Error {
    Error::Variable { variable, value: value.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME=value` separated by spaces.
    fn under(flag: &str, variables: &str) -> std::result::Result<Option<(usize, usize)>, String> {
        let env = |name: &str| {
            let mut pairs = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let choice = (!flag.is_empty()).then(|| flag.parse().unwrap());
        share(choice, env)
            .map(|stated| stated.map(|(worker, _)| (worker.index(), worker.count())))
            .map_err(|error| error.to_string())
    }

    fn array(id: usize, [least, most, step, count]: [usize; 4]) -> String {
        format!(
            "SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID={id} SLURM_ARRAY_TASK_MIN={least} \
             SLURM_ARRAY_TASK_MAX={most} SLURM_ARRAY_TASK_STEP={step} SLURM_ARRAY_TASK_COUNT={count}"
        )
    }

    #[test]
    fn each_scheduler_is_understood() {
        assert_eq!(under("", &array(2, [0, 3, 1, 4])), Ok(Some((2, 4))));
        assert_eq!(under("", &array(1, [1, 4, 1, 4])), Ok(Some((0, 4))));
        assert_eq!(under("", &array(5, [1, 7, 2, 4])), Ok(Some((2, 4))));
        assert_eq!(under("", "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4"), Ok(Some((3, 4))));
        assert_eq!(under("", "PMI_RANK=0 PMI_SIZE=2"), Ok(Some((0, 2))));
        assert_eq!(under("/4", "JOB_COMPLETION_INDEX=3"), Ok(Some((3, 4))));
    }

    #[test]
    fn a_process_on_its_own_is_no_worker() {
        assert_eq!(under("", ""), Ok(None));
        // an interactive allocation, `srun --pty bash`, a job that is no array
        let interactive = "SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_NNODES=2";
        assert_eq!(under("", interactive), Ok(None));
        assert_eq!(under("", "PMI_RANK=0 PMI_SIZE=1"), Ok(None));
        assert_eq!(under("", &array(2, [2, 2, 1, 1])), Ok(None));
        assert_eq!(under("0/1", &array(2, [0, 3, 1, 4])), Ok(None));
    }

    #[test]
    fn the_flag_wins() {
        assert_eq!(under("1/3", &array(2, [0, 3, 1, 4])), Ok(Some((1, 3))));
        assert_eq!(under("1/3", "JOB_COMPLETION_INDEX=x PMI_RANK=9"), Ok(Some((1, 3))));
        // two of four once more
        assert_eq!(under("/4", &array(3, [1, 3, 2, 2])), Ok(Some((3, 4))));
        assert_eq!(under("/4", &array(2, [2, 2, 1, 1])), Ok(Some((2, 4))));
    }

    #[test]
    fn launchers_inside_an_array() {
        let task = array(2, [0, 3, 1, 4]);
        assert_eq!(under("", &format!("{task} PMI_RANK=0 PMI_SIZE=1")), Ok(Some((2, 4))));
        assert_eq!(under("/4", &format!("{task} PMI_RANK=0 PMI_SIZE=1")), Ok(Some((2, 4))));
        assert_eq!(under("", &format!("{task} PMI_RANK=2 PMI_SIZE=4")), Ok(Some((2, 4))));
        for flag in ["", "/4"] {
            let error = under(flag, &format!("{task} PMI_RANK=1 PMI_SIZE=2")).unwrap_err();
            assert!(error.contains("SLURM_ARRAY_TASK_ID = 2"), "{error}");
            assert!(error.contains("PMI_RANK = 1"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let named = |flag: &str, variables: &str, parts: &[&str]| {
            let error = under(flag, variables).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{part:?} is not in {error}");
            }
            assert!(error.contains("--worker"), "{error}");
        };
        named("", "SLURM_ARRAY_TASK_ID=two", &["SLURM_ARRAY_TASK_ID is \"two\""]);
        named("", "SLURM_ARRAY_TASK_ID=2", &["SLURM_ARRAY_TASK_COUNT"]);
        named("", &array(7, [0, 3, 1, 4]), &["SLURM_ARRAY_TASK_ID is \"7\"", "0 to 3"]);
        named("", &array(2, [1, 7, 2, 4]), &["SLURM_ARRAY_TASK_ID is \"2\"", "1 to 7 by 2"]);
        named("", &array(7, [1, 7, 1, 3]), &["SLURM_ARRAY_TASK_COUNT is \"3\"", "1 to 7 by 1"]);
        named("", "PMI_RANK=2 PMI_SIZE=2", &["PMI_RANK is \"2\"", "PMI_SIZE"]);
        named("", "PMI_RANK=2", &["PMI_RANK", "PMI_SIZE"]);
        named("", "OMPI_COMM_WORLD_SIZE=-2", &["OMPI_COMM_WORLD_SIZE is \"-2\""]);
        named("", "JOB_COMPLETION_INDEX=1", &["JOB_COMPLETION_INDEX", "/N", "0/1"]);
        named("/4", "JOB_COMPLETION_INDEX=4", &["JOB_COMPLETION_INDEX is \"4\"", "below 4"]);
        named("/4", "", &["/4", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"]);
    }
}
