//! How is one server started, waited for, frozen and ended?
//!
//! Each server runs under a small shell that holds the other end of a pipe of ours. When our end
//! closes, however we went (a panic, Ctrl-C, `kill -9`, or a static that is never dropped), the
//! shell ends the server and removes its folder. So nothing is left behind by a test that died.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two looks at a server that is starting.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Arguments: folder, log, the signal that ends the server, and the server with its arguments.
/// A server that does not end within seconds is killed with the processes that it started.
const LEASH: &str = r#"
    trap "" INT
    folder=$1 log=$2 signal=$3
    shift 3
    "$@" </dev/null >>"$log" 2>&1 &
    server=$!
    echo $server
    exec >/dev/null 2>&1
    word=
    read -r word
    all="$server $(cat /proc/$server/task/$server/children)"
    kill -CONT $all
    kill -$signal $server
    (sleep 5; kill -KILL $all) &
    killer=$!
    wait $server
    kill $killer
    [ "$word" = keep ] || rm -rf "$folder"
"#;

/// As whom a server runs that refuses to be root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    program: PathBuf,
    args: Vec<String>,
    end_signal: &'static str,
    user: Option<User>,
}

/// A server of ours. Dropping it ends the server and removes its folder.
#[derive(Debug)]
pub struct Process {
    plan: Plan,
    folder: TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    leash: Child,
    pid: u32,
}

impl Process {
    /// Prepares a server that works in `folder`; `end_signal` (`TERM`, `KILL`, …) ends it at once.
    #[must_use]
    pub fn new(folder: TempDir, program: &Path, args: &[String], end_signal: &'static str) -> Self {
        let (program, args) = (program.to_owned(), args.to_vec());
        Self { plan: Plan { program, args, end_signal, user: None }, folder, running: None }
    }

    pub(crate) fn run_as(mut self, user: Option<User>) -> Self {
        self.plan.user = user;
        self
    }

    /// The folder in which it works.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's process id.
    ///
    /// # Panics
    /// If it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("a server that runs has a process id").pid
    }

    /// Starts it and waits until `is_ready`, which is given its process id.
    ///
    /// # Panics
    /// If it runs already, ends by itself or is not ready in time.
    pub fn start(&mut self, is_ready: impl Fn(u32) -> bool) {
        assert!(self.running.is_none(), "{} runs already", self.name());
        self.spawn();
        let since = Instant::now();
        while !is_ready(self.pid()) {
            let is_late = since.elapsed() > START_TIMEOUT;
            assert!(!is_late && self.is_alive(), "{} did not start:\n{}", self.name(), self.log());
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// Ends it as a crash would: no farewell to clients, nothing tidied up. What is in its folder
    /// stays, so that [`Process::start`] begins where it ended.
    pub fn stop(&mut self) {
        self.end(true);
    }

    /// Freezes it with all the processes that it started: connections stay open and nobody answers.
    pub fn pause(&self) {
        signal("STOP", &self.family());
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        signal("CONT", &self.family());
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let mut log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        if self.running.is_some() && !self.is_alive() {
            let _ = writeln!(log, "({} has ended)", self.name());
        }
        log
    }

    fn spawn(&mut self) {
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "leash"]).arg(self.folder()).arg(self.log_path());
        command.arg(self.plan.end_signal).arg(&self.plan.program).args(&self.plan.args);
        command.current_dir(self.folder()).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(User { uid, gid }) = self.plan.user {
            command.uid(uid).gid(gid);
        }
        let mut leash = command.spawn().expect("there is a shell");
        let said = leash.stdout.take().map(BufReader::new);
        let mut line = String::new();
        let read = said.map(|mut said| said.read_line(&mut line));
        let pid = read.and_then(|_| line.trim().parse().ok()).expect("the shell says the id");
        self.running = Some(Running { leash, pid });
    }

    fn end(&mut self, is_folder_kept: bool) {
        let Some(Running { mut leash, .. }) = self.running.take() else { return };
        if let Some(mut stdin) = leash.stdin.take()
            && is_folder_kept
        {
            let _ = stdin.write_all(b"keep\n");
        }
        let _ = leash.wait();
    }

    /// A server that has ended is a zombie until the shell looks after it.
    fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let state = stat.ok().and_then(|stat| Some(stat.rsplit_once(") ")?.1.chars().next()));
        !matches!(state.flatten(), None | Some('Z' | 'X'))
    }

    fn family(&self) -> Vec<String> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().map(str::to_owned);
        std::iter::once(pid.to_string()).chain(children).collect()
    }

    fn log_path(&self) -> PathBuf {
        self.folder().join("server.log")
    }

    fn name(&self) -> String {
        self.plan.program.display().to_string()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// A port on loopback that nobody listens on now and that no outgoing connection is given: those come
/// from 32768 and above, and one of them could take a server's port between its death and its restart.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    // Test programs that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(7_919);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..COUNT)
        .map(|_| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST)
        .filter_map(|port| u16::try_from(port).ok())
        .find(is_free)
        .expect("there is a free port")
}

/// Runs a program to its end and returns what it printed.
///
/// # Panics
/// If it cannot be run or fails, with what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?} cannot be run ({error}); see scripts/install test"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something is so.
///
/// # Panics
/// If that takes longer than a server may take to start.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < START_TIMEOUT, "never happened: {what}");
        std::thread::sleep(LOOK_PAUSE);
    }
}

fn signal(name: &str, pids: &[String]) {
    // A child may have ended since we looked.
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status();
}
