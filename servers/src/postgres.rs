//! A PostgreSQL server that a test may stop, freeze and start again.
//!
//! `initdb` takes a second or two, so its folder is made once a process and copied for each
//! server. PostgreSQL refuses to be root: started by root it runs as the user `postgres` of the
//! Debian package.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

use crate::process::{Process, User, free_port, run, wait_until};

/// What tests need and Debian does not set. Durability is as PostgreSQL ships it: on.
const SETTINGS: [(&str, &str); 5] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("log_min_messages", "warning"),
    ("timezone", "UTC"),
];

/// A server, running until it is dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts a server of one's own, with `fsync` and `synchronous_commit` on.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more settings, such as `("fsync", "off")`.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = folder();
        copy_of_the_first(&folder.path().join("data"));
        Self::start_in(folder, settings)
    }

    fn start_in(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        let (port, data) = (free_port(), folder.path().join("data"));
        let mut args = vec!["-D".into(), data.display().to_string(), "-p".into(), port.to_string()];
        for (name, value) in SETTINGS.iter().chain(settings) {
            args.extend(["-c".into(), format!("{name}={value}")]);
        }
        // SIGQUIT is PostgreSQL's immediate shutdown: like a crash, but shared memory is given back.
        let process = Process::new(folder, &binary("postgres"), &args, "QUIT").run_as(user());
        let mut server = Self { process, port, databases: AtomicU32::new(0) };
        server.restart();
        server
    }

    /// A server that has all that this one has, and from now on confirms each commit of this one:
    /// its synchronous standby.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        let mut copy = Command::new(binary("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-p"]).arg(self.port.to_string());
        copy.args(["--checkpoint=fast", "--write-recovery-conf", "-D"]).arg(&data);
        run(as_user(copy.current_dir(folder.path())));
        let standby = Self::start_in(folder, &[]);
        let url = self.url("postgres");
        self.sql(&url, "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql(&url, "SELECT pg_reload_conf()");
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        wait_until("the standby is synchronous", || self.sql(&url, sql) == "1");
        standby
    }

    /// Makes a standby a server of its own.
    ///
    /// # Panics
    /// If it does not become one.
    pub fn promote(&self) {
        assert_eq!(self.sql(&self.url("postgres"), "SELECT pg_promote()"), "t");
    }

    /// One server for all tests of a process that only want a database; it ends with the process.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// Makes a fresh, empty database and returns its URL.
    ///
    /// # Panics
    /// If the server does not make it.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.url("postgres"), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Runs SQL with `psql` and returns its rows as lines of fields with `|` in between.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, url: &str, sql: &str) -> String {
        let args = ["-v", "ON_ERROR_STOP=1", "-qXAt", "-d", url, "-c", sql];
        run(Command::new(binary("psql")).args(args)).trim_end().to_owned()
    }

    /// The port on which it listens, before and after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The main process's id.
    ///
    /// # Panics
    /// If it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops it as a crash would, in the middle of whatever it is doing.
    pub fn stop_immediate(&mut self) {
        self.process.stop();
    }

    /// Starts it again, where it was stopped and on the same port; stops it first if need be.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.process.stop();
        let status = self.process.folder().join("data/postmaster.pid");
        self.process.start(|pid| is_ready(&status, pid));
    }

    /// Freezes it with all its connections.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

/// The first line is the id of the process that wrote it, the eighth its state.
fn is_ready(status: &Path, pid: u32) -> bool {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str())
        && matches!(lines.get(7), Some(&("ready" | "standby")))
}

/// Copies the folder that `initdb` makes; the first caller has it made, in its own place.
fn copy_of_the_first(data: &Path) {
    static FIRST: Mutex<Option<Pristine>> = Mutex::new(None);
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    let first = first.get_or_insert_with(Pristine::new);
    let folder = &first.0.folder().join("data");
    run(as_user(Command::new("cp").arg("-a").arg(folder).arg(data)));
}

/// What `initdb` made, kept by a process that does nothing, so that it goes when we go.
struct Pristine(Process);

impl Pristine {
    fn new() -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        let args = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"];
        let mut initdb = Command::new(binary("initdb"));
        initdb.args(args).args(["--no-sync", "--no-instructions", "-D"]).arg(data);
        run(as_user(initdb.current_dir(folder.path())));
        let sleep = ["infinity".to_owned()];
        let mut process = Process::new(folder, Path::new("sleep"), &sleep, "KILL").run_as(user());
        process.start(|_| true);
        Self(process)
    }
}

fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("postgres-").tempdir();
    let folder = folder.expect("there is room for a temporary folder");
    if let Some(User { uid, gid }) = user() {
        chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
    }
    folder
}

fn as_user(command: &mut Command) -> &mut Command {
    match user() {
        Some(User { uid, gid }) => command.uid(uid).gid(gid),
        None => command,
    }
}

/// Whom to become: nobody else, unless we are root.
fn user() -> Option<User> {
    static USER: LazyLock<Option<User>> = LazyLock::new(|| {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        is_root.then(|| {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            let line = passwd.lines().find_map(|line| line.strip_prefix("postgres:"));
            let mut ids = line.unwrap_or_default().split(':').skip(1).map(str::parse);
            match (ids.next(), ids.next()) {
                (Some(Ok(uid)), Some(Ok(gid))) => User { uid, gid },
                _ => panic!("there is no user postgres; see scripts/install test"),
            }
        })
    });
    *USER
}

/// Debian keeps the server's programs by version, outside of the path. The newest is taken.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| version(path));
    newest.map_or_else(|| name.into(), |folder| folder.join("bin").join(name))
}
