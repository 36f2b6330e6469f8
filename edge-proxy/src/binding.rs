//! Binds places and passes to the browser that joined, and notices when another one shows them.
//!
//! The binding is a keyed hash of what a browser says of itself. Addresses are not in it: a
//! telephone changes its network all day. Only a hash under the same key can be compared, so each
//! begins with a mark of its key: edges with one `binding_secret` know each other's places.

use admission_api::{Binding, Problem, Reason, Suspicion};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keys::{Id128, Pass};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::answer::Answer;
use crate::desk::Desk;
use crate::live::RoomNow;
use crate::pages::Notice;
use crate::visit::Visit;
use crate::words::{Language, Word};

/// What is hashed.
const FIELDS: [&str; 2] = ["user-agent", "accept-language"];
/// Bytes that tell the key, and bytes of the hash.
const KEY_MARK_BYTES: usize = 3;
const HASH_BYTES: usize = 9;
/// Characters that tell the key.
const KEY_MARK_CHARS: usize = 4;

/// The key of the hash that binds places and passes to browsers.
pub(crate) struct BindingKey {
    key: Hmac<Sha256>,
    /// Tells keys apart and nothing of them.
    mark: String,
}

impl BindingKey {
    /// The key with these bytes.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let key = Hmac::<Sha256>::new_from_slice(bytes).expect("HMAC takes keys of any length");
        let mac = key.clone().chain_update(b"waiting-room binding key");
        let mark = URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..KEY_MARK_BYTES]);
        Self { key, mark }
    }

    /// A hash under this key, to be fed.
    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        self.key.clone()
    }

    /// The binding of a browser that says this of itself, in the order of [`FIELDS`].
    fn binding_of<'a>(&self, said: impl Iterator<Item = &'a str>) -> String {
        let mut mac = self.mac();
        for value in said {
            mac.update(value.as_bytes());
            mac.update(&[0]);
        }
        let hash = URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..HASH_BYTES]);
        format!("{}{hash}", self.mark)
    }
}

/// Whether `bound` was made for another browser, as far as that can be told.
fn is_other(bound: &str, here: &str) -> bool {
    let mark = |text: &str| text.get(..KEY_MARK_CHARS).map(str::to_owned);
    let is_same: bool = bound.as_bytes().ct_eq(here.as_bytes()).into();
    mark(bound).is_some() && mark(bound) == mark(here) && !is_same
}

impl Desk {
    /// What binds a statement to the browser that asks.
    pub(crate) fn fingerprint(&self, visit: &Visit<'_>) -> String {
        let said = FIELDS.iter().map(|name| visit.readable(*name).unwrap_or_default());
        self.binding.binding_of(said)
    }

    /// Whether this was bound to another browser than the one that asks.
    pub(crate) fn is_foreign(&self, visit: &Visit<'_>, bound: &str) -> bool {
        is_other(bound, &self.fingerprint(visit))
    }

    /// A pass that another browser shows is told to the security team, or refused with this answer,
    /// as the room wants it.
    pub(crate) fn refused_pass(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        pass: &Pass,
    ) -> Option<Answer> {
        let binding = room.room.spec.passes.binding;
        if binding == Binding::Off || !self.is_foreign(visit, &pass.fpr) {
            return None;
        }
        self.report_shared(visit, room, pass);
        (binding == Binding::Refuse).then(|| self.other_browser(visit))
    }

    /// The same for a place whose turn has come, whose pass would be bound to its browser; those
    /// that are not refused count in the score.
    pub(crate) fn refused_turn(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        bound: &str,
    ) -> Option<Answer> {
        let is_refused = room.room.spec.passes.binding == Binding::Refuse;
        (is_refused && self.is_foreign(visit, bound)).then(|| self.other_browser(visit))
    }

    /// Once a pass, and the controller keeps one of a visitor.
    fn report_shared(&self, visit: &Visit<'_>, room: &RoomNow, pass: &Pass) {
        if self.reported.get(&pass.jti).is_some() {
            return;
        }
        self.reported.insert(pass.jti, ());
        self.metrics.shared_passes_total.inc();
        let judgement = self.judge(visit, None, false);
        let agent: String =
            visit.readable("user-agent").unwrap_or_default().chars().take(200).collect();
        let detail = format!("the pass of another browser was shown by {agent}");
        let shared = Reason {
            code: "pass_shared".to_owned(),
            detail: detail.chars().take(200).collect(),
            points: 0,
        };
        let suspicion = Suspicion {
            event: pass.aud.clone(),
            line: room.room.line,
            sub: pass.sub,
            edge: self.name.clone(),
            at: visit.now,
            score: judgement.score,
            reasons: std::iter::once(shared).chain(judgement.reasons).collect(),
            // Whoever is inside is moved nowhere.
            standard_num: 0,
            suspect_num: 0,
            network: visit.network.shortened(),
            country: self.geo.country(visit.addr),
            asn: self.geo.asn(visit.addr),
            user_agent: agent,
        };
        self.outbox.suspect(suspicion, &self.metrics);
    }

    fn other_browser(&self, visit: &Visit<'_>) -> Answer {
        let problem = Problem::new(403, "other-browser", "This belongs to another browser")
            .detail(
                "go on in the browser that joined, or move the place here with a code from there",
            )
            .with("transfer", "/api/v1/queue/transfer");
        let page = self.pages.notice(Notice {
            title: visit.host,
            language: Language::wanted(visit.field("accept-language")),
            heading: Word::OTHER_BROWSER,
            text: Word::OTHER_BROWSER_TEXT,
        });
        Answer::refusal(&problem, visit.wants(), page, "other_browser")
    }
}

/// Passes of which it is remembered that they were reported; about 50 bytes each.
pub(crate) type Reported = quick_cache::sync::Cache<Id128, ()>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_same_key_has_bound_can_be_another_browser() {
        let (ours, theirs) = (BindingKey::new(b"ours"), BindingKey::new(b"theirs"));
        let bound =
            |key: &BindingKey, agent: &'static str| key.binding_of([agent, "en"].into_iter());
        let here = bound(&ours, "Firefox");
        assert_eq!(here.len(), KEY_MARK_CHARS + 12);
        assert!(!is_other(&bound(&ours, "Firefox"), &here));
        assert!(is_other(&bound(&ours, "Chrome"), &here));
        assert!(!is_other(&bound(&theirs, "Chrome"), &here), "who knows?");
        assert!(!is_other("", &here), "it was bound to nothing");
        assert_ne!(
            ours.binding_of(["ab", "c"].into_iter()),
            ours.binding_of(["a", "bc"].into_iter())
        );
    }
}
