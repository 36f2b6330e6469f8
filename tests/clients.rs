//! Apps that talk to the line themselves: in Rust, in a browser as an ES module, and anybody who
//! reads the API's description, which says what is answered and nothing else is.

use admission_api::client::{ClientError, Line, State};
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::{EVENT, TestStack, eventually};

#[tokio::test]
async fn an_app_in_rust_joins_waits_and_enters() {
    let stack = TestStack::start_standing().await;
    let base = format!("http://{}", stack.edge);
    let mut line = Line::new(&base, EVENT.parse().unwrap()).unwrap();
    let refused = line.status().await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { problem, .. } if problem.code == "no-place"));
    let joined = line.join().await.unwrap();
    assert_eq!((joined.state, joined.num), (State::Waiting, line.join().await.unwrap().num));
    let refused = line.claim().await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { problem, .. } if problem.code == "not-yet"));
    // Kept by the app and shown again, the place is the same.
    let kept = line.place().unwrap().clone();
    let mut again = Line::new(&base, EVENT.parse().unwrap()).unwrap().with_place(kept);
    assert_eq!(again.status().await.unwrap().num, joined.num);
    let position = joined.position.unwrap();
    // On another device it goes on, and nowhere else.
    let code = again.transfer().await.unwrap().code;
    let mut again = Line::new(&base, EVENT.parse().unwrap()).unwrap();
    let refused = again.redeem("AAAA-AAAA").await.unwrap_err();
    let is_unknown = |problem: &admission_api::Problem| problem.code == "unknown-code";
    assert!(matches!(&refused, ClientError::Refused { problem, .. } if is_unknown(problem)));
    assert_eq!(again.redeem(&code).await.unwrap().num, joined.num);
    stack.let_in(position).await;
    let front = line.front().await.unwrap();
    assert!(front.at(joined.lane, keys::Timestamp::now()) <= front.lanes[1].limit.max(position));
    eventually("the turn has come", || async {
        let mut line = Line::new(&base, EVENT.parse().unwrap())
            .unwrap()
            .with_place(again.place().unwrap().clone());
        line.status().await.is_ok_and(|status| status.state == State::YourTurn)
    })
    .await;
    assert!(again.claim().await.unwrap().pass.as_str().starts_with("ey"));
    let refused = line.claim().await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { problem, .. } if problem.code == "place-moved")
    );
    stack.stop().await;
}

#[tokio::test]
async fn an_app_in_a_browser_follows_the_line_with_the_module() {
    let stack = TestStack::start_standing().await;
    let browser = Browser::start().await;
    browser.open(stack.edge, "/").await;
    let script = format!(
        "const done = arguments[arguments.length - 1];
         (async () => {{
             const {{ WaitingRoom, Refused }} =
                 await import('/.waiting-room/assets/waiting-room.mjs');
             const line = new WaitingRoom('{EVENT}');
             const early = await line.status().catch((error) => error);
             const first = new WaitingRoom('{EVENT}');
             await first.join();
             const {{ code }} = await first.transfer();
             const joined = await line.redeem(code);
             window.seen = [];
             window.line = line;
             (async () => {{
                 for await (const look of line.follow()) window.seen.push(look);
                 window.pass = await line.enter();
             }})();
             return [early instanceof Refused, early.code, joined.state, joined.num];
         }})().then(done, (error) => done(String(error)));"
    );
    let said = browser.client.execute_async(&script, vec![]).await.unwrap();
    assert_eq!(
        (&said[0], &said[1], &said[2]),
        (&true.into(), &"no-place".into(), &"waiting".into()),
        "{said}"
    );
    let states = "return window.seen.map((look) => look.state)";
    eventually("the module has looked", || async {
        let seen = browser.client.execute(states, vec![]).await.unwrap();
        seen[0] == "waiting"
    })
    .await;
    stack.let_in(said[3].as_u64().unwrap()).await;
    eventually("the module has entered", || async {
        let pass = browser.client.execute("return window.pass ?? null", vec![]).await.unwrap();
        pass["state"] == "admitted"
    })
    .await;
    let seen = browser.client.execute(states, vec![]).await.unwrap();
    assert_eq!(seen.as_array().unwrap().last(), Some(&Value::from("your_turn")), "{seen}");
    stack.stop().await;
}

#[tokio::test]
async fn the_line_answers_what_its_description_says() {
    let stack = TestStack::start_standing().await;
    let base = format!("http://{}", stack.edge);
    let described =
        reqwest::get(format!("{base}/.well-known/waiting-room/openapi.json")).await.unwrap();
    assert_eq!(described.status(), 200);
    let described: Value = described.json().await.unwrap();
    assert_eq!(described["openapi"], "3.0.3");
    crate::support::schemathesis(&format!("{base}/.well-known/waiting-room/openapi.json"), &base)
        .await;
    stack.stop().await;
}
