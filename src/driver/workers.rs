//! Heavy work on threads of its own: merging and reading documents, sharded by document.
//!
//! Each worker keeps the documents of its shard in an engine, so tasks of one document keep their order and two documents
//! need no lock. A task's result goes back to the loop through a queue; the loop never waits for it.
//!
//! **Bound:** the queues hold what the core has in flight, which the core bounds (`documents::Config`: commands that wait,
//! documents with work at the same time, bytes in each). So they need no limit of their own and giving work never blocks.
//!
//! **A panic stays here.** It is reported and told as the task's failure; the engine is kept, since it contains the merge
//! library's panics document by document and a panic that comes this far left one document's task undone.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::documents::{Arrived, Config, DocState, Done, Engine, Error, Policies, Task};
use crate::types::{CommandId, DocId, TaskId};

/// Most threads: beyond it the log, not merging, is what a peer waits for.
const THREADS_MAX: usize = 4;

/// The threads and their queues.
#[derive(Debug)]
pub(super) struct Workers {
    queues: Vec<std_mpsc::Sender<(TaskId, Task)>>,
    threads: Vec<JoinHandle<()>>,
    answers: mpsc::UnboundedReceiver<(TaskId, Done)>,
    counters: Arc<Counters>,
}

/// What the workers did.
#[derive(Debug, Default)]
pub(super) struct Counters {
    longest_micros: AtomicU64,
    panics: AtomicU64,
}

impl Counters {
    /// The longest task since the start.
    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }

    /// Tasks that panicked since the start.
    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

/// As many threads as there are cores, from 1 to [`THREADS_MAX`].
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX))
}

impl Workers {
    /// Starts `count` threads, at least one. The engines share the room's limits.
    pub(super) fn start(count: usize, config: &Config) -> io::Result<Self> {
        let count = count.max(1);
        let limits = config.limits.shared(count);
        Self::with(count, || {
            let mut engine = Engine::new(limits).with_customs(config.customs.clone());
            move |task| engine.run(task)
        })
    }

    /// Starts `count` threads that do their tasks with what `make` gives.
    fn with<R>(count: usize, make: impl Fn() -> R) -> io::Result<Self>
    where
        R: FnMut(Task) -> Done + Send + 'static,
    {
        let (done, answers) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        let mut workers = Self { queues: Vec::new(), threads: Vec::new(), answers, counters };
        for at in 0..count {
            let (queue, tasks) = std_mpsc::channel();
            let (run, done, counters) = (make(), done.clone(), workers.counters.clone());
            let thread = thread::Builder::new().name(format!("mesh-merge-{at}"));
            workers.threads.push(thread.spawn(move || work(run, &tasks, &done, &counters))?);
            workers.queues.push(queue);
        }
        Ok(workers)
    }

    /// Gives a task to the worker of its document.
    pub(super) fn give(&self, id: TaskId, task: Task) {
        let at = task.worker(self.queues.len());
        // A worker ends only when its queue is dropped, which is when the loop that would hear the answer has ended too.
        if self.queues[at].send((id, task)).is_err() {
            tracing::error!(%id, "a merge worker has ended; its documents can no longer be edited");
        }
    }

    /// The next answer. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<(TaskId, Done)> {
        self.answers.recv().await
    }

    /// An answer that is there already.
    pub(super) fn try_next(&mut self) -> Option<(TaskId, Done)> {
        self.answers.try_recv().ok()
    }

    /// What they did so far.
    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Ends the threads after the tasks that they are at; blocks until then.
    pub(super) fn stop(self) {
        drop((self.queues, self.answers));
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a merge worker ended with a panic");
            }
        }
    }
}

fn work(
    mut run: impl FnMut(Task) -> Done,
    tasks: &std_mpsc::Receiver<(TaskId, Task)>,
    done: &mpsc::UnboundedSender<(TaskId, Done)>,
    counters: &Counters,
) {
    while let Ok((id, task)) = tasks.recv() {
        let began = Instant::now();
        let undone = Undone::of(&task);
        let answer = catch_unwind(AssertUnwindSafe(|| run(task))).unwrap_or_else(|panic| {
            let why = words(panic.as_ref());
            counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(doc = %undone.doc, %why, "a task panicked");
            let state = standing(&mut run, &undone.doc);
            undone.answer(why, state)
        });
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.longest_micros.fetch_max(micros, Ordering::Relaxed);
        if done.send((id, answer)).is_err() {
            return;
        }
    }
}

/// How the document of a task that panicked stands now, as far as the engine can still tell.
fn standing(run: &mut impl FnMut(Task) -> Done, doc: &DocId) -> DocState {
    let get =
        Task::Get { doc: doc.clone(), command: CommandId::ZERO, path: String::new(), policies: Policies::default() };
    match catch_unwind(AssertUnwindSafe(|| run(get))) {
        Ok(Done::Got { state, .. }) => state,
        _ => DocState::default(),
    }
}

/// Enough of a task to answer it when it was not done.
struct Undone {
    doc: DocId,
    what: What,
}

enum What {
    Edit(Vec<CommandId>),
    Apply(Vec<Arrived>),
    Get(CommandId),
    Met(CommandId),
    History(CommandId),
    Restore,
    Evict,
    Forget,
}

impl Undone {
    fn of(task: &Task) -> Self {
        let what = match task {
            Task::Edit { batch, .. } => What::Edit(batch.iter().map(|wanted| wanted.command).collect()),
            Task::Apply { changes, .. } | Task::Rebuild { changes, .. } => What::Apply(changes.clone()),
            Task::Get { command, .. } | Task::Standing { command, .. } => What::Get(*command),
            Task::Met { command, .. } => What::Met(*command),
            Task::History { command, .. } => What::History(*command),
            Task::Restore { .. } => What::Restore,
            Task::Evict { .. } => What::Evict,
            Task::Forget { .. } => What::Forget,
        };
        Self { doc: task.doc().clone(), what }
    }

    fn answer(self, why: String, state: DocState) -> Done {
        let doc = self.doc;
        let failed = || Error::Engine { doc: doc.clone(), why: why.clone() };
        match self.what {
            What::Edit(commands) => {
                let results = commands.into_iter().map(|command| (command, Err(failed()))).collect();
                Done::Edited { doc, change: None, results, state }
            }
            What::Apply(changes) => {
                let refused = changes.into_iter().map(|change| (change, why.clone())).collect();
                Done::Applied {
                    doc,
                    applied: Vec::new(),
                    orphans: Vec::new(),
                    refused,
                    known: Vec::new(),
                    older: Vec::new(),
                    state,
                }
            }
            What::Get(command) => Done::Got { command, value: Err(failed()), state, doc },
            What::Met(command) => Done::Met { command, found: Err(failed()), state, doc },
            What::History(command) => Done::Told { command, changes: Err(failed()), doc },
            What::Restore => Done::Restored { doc, orphans: Vec::new(), state },
            What::Evict => Done::Evicted { doc },
            What::Forget => Done::Forgotten { doc, state },
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(doc: &str, command: u64) -> Task {
        Task::Get {
            doc: DocId::parse(doc).unwrap(),
            command: CommandId::new(command),
            path: String::new(),
            policies: Policies::default(),
        }
    }

    fn got(task: Task) -> Done {
        match task {
            Task::Get { doc, command, .. } => {
                Done::Got { doc, command, value: Ok(serde_json::Value::Null), state: DocState::default() }
            }
            other => panic!("{other:?} was not given"),
        }
    }

    fn wait(workers: &mut Workers) -> (TaskId, Done) {
        workers.answers.blocking_recv().expect("the workers live")
    }

    #[test]
    fn tasks_of_one_document_keep_their_order() {
        let mut workers = Workers::with(3, || got).unwrap();
        for id in 0..300 {
            workers.give(TaskId::new(id), get(["a", "b", "c/d"][usize::try_from(id % 3).unwrap()], id));
        }
        let mut last = [None; 3];
        for _ in 0..300 {
            let (id, _) = wait(&mut workers);
            let seen = &mut last[usize::try_from(id.value() % 3).unwrap()];
            assert!(*seen < Some(id), "{id} came after {seen:?}");
            *seen = Some(id);
        }
        workers.stop();
    }

    #[test]
    fn a_panic_is_told_as_the_tasks_failure_and_the_worker_goes_on() {
        let mut workers = Workers::with(1, || {
            |task: Task| match &task {
                Task::Get { doc, .. } => {
                    assert!(doc.as_str() != "bad", "the engine stumbled");
                    got(task)
                }
                _ => panic!("the engine stumbled"),
            }
        })
        .unwrap();
        workers.give(TaskId::new(1), get("bad", 7));
        workers.give(TaskId::new(2), get("good", 8));
        let doc = DocId::parse("bad").unwrap();
        let why = "the engine stumbled".to_owned();
        let failed = Done::Got {
            doc: doc.clone(),
            command: CommandId::new(7),
            value: Err(Error::Engine { doc: doc.clone(), why: why.clone() }),
            state: DocState::default(),
        };
        assert_eq!(wait(&mut workers), (TaskId::new(1), failed));
        assert_eq!(wait(&mut workers).0, TaskId::new(2));
        assert_eq!(workers.counters().panics(), 1);
        workers.stop();
    }

    #[test]
    fn a_long_task_holds_up_its_own_shard_only() {
        let mut workers = Workers::with(2, || {
            |task: Task| {
                if let Task::Get { doc, .. } = &task
                    && doc.as_str() == "long"
                {
                    thread::sleep(Duration::from_millis(300));
                }
                got(task)
            }
        })
        .unwrap();
        let long = get("long", 1).worker(2);
        let other = (0..).map(|at| format!("short-{at}")).find(|doc| get(doc, 1).worker(2) != long);
        workers.give(TaskId::new(1), get("long", 1));
        workers.give(TaskId::new(2), get(&other.unwrap(), 2));
        assert_eq!(wait(&mut workers).0, TaskId::new(2));
        assert_eq!(wait(&mut workers).0, TaskId::new(1));
        assert!(workers.counters().longest() >= Duration::from_millis(300));
        workers.stop();
    }
}
