//! Where may a test end or freeze this process? At a named place, the n-th time it is reached.
//!
//! Only in builds with the feature `failpoints`, which no build that is shipped has; without it
//! [`failpoint!`] is nothing. A test names places in the environment of the process that it
//! starts: `ORIGIN_FAILPOINTS=append-done:3:kill,snapshot-begun:1:stop`.

/// Marks a place at which a test may end this process.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::reached($name);
    };
}

#[cfg(feature = "failpoints")]
pub use armed::reached;

#[cfg(feature = "failpoints")]
mod armed {
    use std::process::Command;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What happens at which place, and when.
    struct Point {
        name: String,
        left: AtomicU64,
        signal: &'static str,
    }

    static POINTS: LazyLock<Vec<Point>> = LazyLock::new(|| {
        let set = std::env::var("ORIGIN_FAILPOINTS").unwrap_or_default();
        set.split(',').filter(|point| !point.is_empty()).map(parse).collect()
    });

    fn parse(text: &str) -> Point {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().to_owned();
        let left = parts.next().and_then(|count| count.parse().ok());
        let signal = match parts.next() {
            Some("kill") => Some("KILL"),
            Some("stop") => Some("STOP"),
            _ => None,
        };
        let (Some(left), Some(signal)) = (left, signal) else {
            panic!("ORIGIN_FAILPOINTS has {text:?}, expected name:count:kill or name:count:stop")
        };
        Point { name, left: AtomicU64::new(left), signal }
    }

    /// Ends or freezes the process if a test asked for it here and now.
    pub fn reached(name: &str) {
        let Some(point) = POINTS.iter().find(|point| point.name == name) else { return };
        let down = |left: u64| left.checked_sub(1);
        let Ok(1) = point.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down) else {
            return;
        };
        eprintln!("failpoint {name}: {}", point.signal);
        let args = [format!("-{}", point.signal), std::process::id().to_string()];
        let sent = Command::new("kill").args(args).status();
        assert!(sent.is_ok_and(|sent| sent.success()), "no signal could be sent");
        // It reaches every thread in a moment; this one must not go on before.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
