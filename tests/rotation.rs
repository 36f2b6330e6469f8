//! Keys roll while a sale runs, and nobody notices; a withdrawn key ends what it signed.

use std::path::Path;

use keys::{Keyring, Timestamp};

use crate::support::{EVENT, Page, TestStack, eventually};

/// Makes a successor that begins in two seconds, and lets the others learn of it first.
fn roll(dir: &Path, owner: &str, others: [&str; 2]) -> String {
    let file = |name: &str| dir.join(format!("{name}.keys.json"));
    let mut own = Keyring::load(&file(owner)).unwrap();
    let made = own.roll(Timestamp::now().plus_secs(2), 3600, 3600);
    let public = Keyring::from_jwks(own.public_jwks()).unwrap();
    for other in others {
        let mut ring = Keyring::load(&file(other)).unwrap();
        for key in public.keys() {
            ring.add(key.clone());
        }
        ring.save(&file(other)).unwrap();
    }
    own.save(&file(owner)).unwrap();
    made.into_iter().next().unwrap()
}

fn kid(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn keys_roll_while_a_sale_runs() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    ana.enter().await;
    let old_pass = ana.cookie("wr_pass").unwrap();

    let edge_kid = roll(stack.dir(), "edge-1", ["controller-1", "origin-1"]);
    let pass_kid = roll(stack.dir(), "controller-1", ["edge-1", "origin-1"]);
    // The services read their files again by themselves, one after the other.
    eventually("newcomers enter under the new keys, at the edge and at the origin", || async {
        let ben = stack.visitor();
        if ben.arrive().await != Page::Shop {
            return false;
        }
        let is_new = kid(ben.place().as_str()) == edge_kid
            && kid(&ben.cookie("wr_pass").unwrap()) == pass_kid;
        is_new && ben.get(&format!("/api/v1/events/{EVENT}/availability")).await.status == 200
    })
    .await;
    assert_ne!(kid(&old_pass), pass_kid);
    let inside = ana.get(&format!("/api/v1/events/{EVENT}/availability")).await;
    assert_eq!(inside.status, 200, "the old pass holds through the overlap");
    stack.stop().await;
}

#[tokio::test]
async fn a_withdrawn_edge_key_ends_its_places() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let old = kid(ana.place().as_str());
    roll(stack.dir(), "edge-1", ["controller-1", "origin-1"]);
    for name in ["edge-1", "controller-1"] {
        let file = stack.dir().join(format!("{name}.keys.json"));
        let mut ring = Keyring::load(&file).unwrap();
        ring.revoke(&old, Timestamp::now()).unwrap();
        ring.save(&file).unwrap();
    }
    eventually("the old place is none any more", || async {
        ana.status().await["code"] == "no-place"
    })
    .await;
    eventually("a new one is given", || async { ana.arrive().await == Page::Waiting }).await;
    assert_ne!(kid(ana.place().as_str()), old);
    stack.stop().await;
}
