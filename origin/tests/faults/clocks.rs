//! Somebody sets the clock of the machine while the origin sells: an hour forward, and an hour back.
//! The process runs as it is, under libfaketime; the time that passes is left alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keys::Timestamp;

use crate::support::{Heard, Memory, Node, Visitor, World, eventually};

/// How long a hold stands where it is to end.
const HOLD: Duration = Duration::from_secs(8);
/// By how much time may run ahead at once, and then by a tenth; see `origin/src/steady.rs`.
const LEAD: Duration = Duration::from_secs(2);
/// Debian has one folder for each architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that can be set.
struct Clock(PathBuf);

impl Clock {
    fn new(world: &World) -> Self {
        let clock = Self(world.path("clock"));
        clock.set(0);
        clock
    }

    fn set(&self, wrong_secs: i64) {
        // In one step, for it is read at any time.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{wrong_secs:+}\n")).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    async fn start(&self, node: &mut Node, world: &World) {
        let file = self.0.display();
        let library = library();
        let library = library.display();
        let env = format!(
            "LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={file} FAKETIME_NO_CACHE=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1"
        );
        node.start_with(world, &env).await;
        let visitor = world.visitor();
        eventually("it serves", async || visitor.availability(node).await.is_done()).await;
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join(LIBRARY)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no /usr/lib/*/{LIBRARY}, expected the package faketime"))
}

/// Waits until a seat that somebody holds can be had.
async fn until_free(node: &Node, ben: &Visitor<'_>, seat: &[u32]) {
    eventually("it is free again", async || match ben.hold(node, seat).await {
        Heard::Done(_) => true,
        taken => {
            assert_eq!(taken, Heard::No(409, "seat-taken".into()));
            false
        }
    })
    .await;
}

/// A hold stands as long as was promised, and no longer, by the time that really passes.
async fn a_hold_when_the_clock_is_set(wrong_secs: i64) {
    let world = World::sqlite();
    let clock = Clock::new(&world);
    let mut node = world.node_with(&format!("sale.hold_secs = {}", HOLD.as_secs()));
    clock.start(&mut node, &world).await;
    let (ana, ben, seat) = (world.visitor(), world.visitor(), [world.fresh_seat()]);
    ana.hold(&node, &seat).await.done();
    let held = Instant::now();
    clock.set(wrong_secs);
    until_free(&node, &ben, &seat).await;
    let stood = held.elapsed();
    println!("clock set by {wrong_secs} s: the hold stood {stood:?}");
    assert!(stood >= (HOLD - LEAD) * 10 / 11, "{stood:?} is too early");
    assert!(stood <= HOLD * 10 / 9 + LEAD, "{stood:?} is too late");
    let (name, clock) =
        ("origin_clock_held_total", if wrong_secs > 0 { "ahead" } else { "behind" });
    let held = node.metric(&world, &format!("{name}{{clock=\"{clock}\"}}")).await;
    assert!(held.is_some_and(|count| count > 0.0), "the clock was set: {held:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_forward_frees_no_hold_early() {
    a_hold_when_the_clock_is_set(3600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_keeps_no_hold_for_longer() {
    a_hold_when_the_clock_is_set(-3600).await;
}

/// The machine comes up with its clock an hour ahead: whoever held seats has the time they had left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_with_its_clock_ahead_frees_no_hold_early() {
    let world = World::sqlite();
    let clock = Clock::new(&world);
    let mut node = world.node_with(&format!("sale.hold_secs = {}", HOLD.as_secs()));
    clock.start(&mut node, &world).await;
    let (ana, ben, seat) = (world.visitor(), world.visitor(), [world.fresh_seat()]);
    let hold = ana.hold(&node, &seat).await.done();
    let held = Instant::now();
    node.kill();
    clock.set(3600);
    clock.start(&mut node, &world).await;
    assert!(node.log().contains("clock is ahead"), "{}", node.log());
    assert!(ana.view(&node, hold["hold"].as_str().unwrap()).await.is_done());
    until_free(&node, &ben, &seat).await;
    assert!(held.elapsed() >= HOLD, "{:?} is too early", held.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_goes_on_whatever_the_clock_says() {
    let world = World::sqlite();
    let clock = Clock::new(&world);
    let mut node = world.node();
    clock.start(&mut node, &world).await;
    let memory = Memory::default();
    let (mut issued, mut barcodes) = (Vec::new(), Vec::new());
    for wrong_secs in [0, 3600, -3600, 0] {
        clock.set(wrong_secs);
        memory.rush(&world, &node, 3, 4).await;
        let ana = world.visitor();
        let hold = ana.hold(&node, &[world.fresh_seat()]).await.done();
        let order = ana.buy(&node, hold["hold"].as_str().unwrap(), "key", "tok_ok").await.done();
        let barcode = order["tickets"][0]["barcode"].as_str().unwrap().to_owned();
        let ticket = world.scan(&barcode).expect("a ticket is valid at once, by the right time");
        assert!(ticket.iat.since(Timestamp::now()) <= 2 * LEAD, "issued at {}", ticket.iat);
        assert!(Timestamp::now().since(ticket.iat) <= 2 * LEAD, "issued at {}", ticket.iat);
        issued.push(ticket.iat);
        barcodes.push(barcode);
    }
    assert!(issued.is_sorted(), "written down in the order in which it was sold: {issued:?}");
    assert_eq!(memory.check(&node).await, 48, "nothing is sold twice, and all of it is there");
    // A restart while the clock is wrong, and the log is ahead of it.
    clock.set(-3600);
    clock.start(&mut node, &world).await;
    memory.check(&node).await;
    memory.rush(&world, &node, 2, 2).await;
    memory.check(&node).await;
    assert!(barcodes.iter().all(|barcode| world.scan(barcode).is_some()));
}
