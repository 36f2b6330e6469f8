//! What may be asked of an event's seats, what is answered, and what is written down.

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::after::{AfterChange, AfterCommand, AfterReply};
use super::blocks::Block;
use super::dues::{PaymentWork, VoidDue};
use super::gateway::{Action, GatewayName};
use super::holds::HoldView;
use super::money::{Bill, Terms};
use super::payment::{ChargeView, OrderView};
use super::post::{Message, PostChange, PostCommand, PostWork};
use super::receipt::Receipt;
use super::refusal::Refusal;
use super::seats::Run;
use super::waitlist::EntryView;
use super::word::Contact;

/// Which seats a visitor wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// These, all or none.
    Pick(Pick),
    /// The best that there are.
    Best(Party),
}

/// Chosen seats, and places in areas that are sold by count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pick {
    /// Seats of rows.
    pub seats: Vec<Seat>,
    /// So many places in an area; of an area that is named twice, the sum.
    pub areas: Vec<AreaPick>,
}

impl Pick {
    /// These seats.
    #[must_use]
    pub fn seats(seats: Vec<Seat>) -> Self {
        Self { seats, areas: Vec::new() }
    }

    /// How many seats and places.
    #[must_use]
    pub fn quantity(&self) -> u32 {
        let seats = u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
        self.areas.iter().fold(seats, |sum, area| sum.saturating_add(area.quantity))
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.quantity() == 0
    }
}

/// Places in an area.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaPick {
    /// Id of the area.
    pub area: String,
    /// How many.
    pub quantity: u32,
}

/// People who leave the choice to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// In one of these zones; anywhere, if there are none.
    pub zones: Vec<String>,
    /// Seats that cost no more than this, in minor units.
    pub price_max: Option<u64>,
    /// How many of what.
    pub seats: PartySeats,
    /// Whether they may be split if there is no room for them together.
    pub may_split: bool,
}

/// What a party sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartySeats {
    /// Any seats.
    Any {
        /// How many.
        quantity: u32,
    },
    /// Spaces for wheelchairs.
    Accessible {
        /// How many spaces.
        spaces: u32,
        /// How many of them with a companion's seat beside it.
        companions: u32,
    },
}

impl PartySeats {
    /// How many seats that is.
    #[must_use]
    pub const fn quantity(self) -> u32 {
        match self {
            Self::Any { quantity } => quantity,
            Self::Accessible { spaces, companions } => spaces.saturating_add(companions),
        }
    }
}

/// Why a hold gets more time; each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// The buyer is filling in the order.
    Checkout,
    /// The buyer needs more time than others.
    MoreTime,
    /// Nobody could buy for a while, or so the clock says. It is given and never asked for.
    Outage,
}

impl Extension {
    /// All that may be asked for.
    pub const ALL: [Self; 2] = [Self::Checkout, Self::MoreTime];
}

/// A request to start paying for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginPayment {
    /// What is to be paid.
    pub hold: Id128,
    /// Who pays: `sub` of the pass.
    pub sub: Id128,
    /// The client's idempotency key; counts per `sub`.
    pub key: String,
    /// Digest of what was asked with that key.
    pub body: String,
    /// The order that it becomes if all goes well.
    pub order: Id128,
    /// Ids for its tickets, at least as many as seats.
    pub tickets: Vec<Id128>,
    /// The buyer's name, as printed.
    pub name: String,
    /// Where the tickets are sent.
    pub email: Option<String>,
    /// Where word of them is sent.
    pub phone: Option<String>,
    /// The buyer's locale.
    pub locale: Option<String>,
    /// Who is asked for the money first; nobody, if no gateway answers now.
    pub gateway: Option<GatewayName>,
    /// The gateway's token for the buyer's means of payment.
    pub token: String,
}

/// What became of an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The money is reserved.
    Authorised {
        /// In minor units.
        amount: u64,
    },
    /// The buyer has to do something first.
    ActionRequired(Action),
    /// It is not reserved, and it will not be.
    Declined {
        /// The gateway's code.
        code: Option<String>,
    },
    /// The money was taken.
    Captured {
        /// In minor units.
        amount: u64,
    },
    /// No answer.
    Unknown,
    /// No answer for so long that nobody waits for it any more.
    GivenUp,
}

/// What is known of an authorisation, whoever learned it: a buyer's request, the resolver, a
/// webhook or the reconciler. The state decides what it means; the order in which it is told does
/// not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The order that it is for.
    pub order: Id128,
    /// Which of its authorisations.
    pub number: u32,
    /// Who says so.
    pub gateway: GatewayName,
    /// The gateway's name for it.
    pub reference: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The webhook that made us ask, so that its repetitions change nothing.
    pub notice: Option<String>,
}

/// One thing that is asked of an event's seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take seats out of stock for a while.
    Hold {
        /// Id of the new hold.
        hold: Id128,
        /// For whom.
        sub: Id128,
        /// Which seats.
        want: Want,
    },
    /// Look at a hold.
    ViewHold {
        /// Which.
        hold: Id128,
        /// Who asks.
        sub: Id128,
    },
    /// Add seats to a hold and drop others, all or none. Its time goes on as it was.
    Amend {
        /// Which.
        hold: Id128,
        /// Who asks.
        sub: Id128,
        /// What comes to it.
        add: Pick,
        /// What goes; of an area, so many of the places held.
        drop: Pick,
    },
    /// Give a hold more time.
    Extend {
        /// Which.
        hold: Id128,
        /// Who asks.
        sub: Id128,
        /// Why.
        by: Extension,
    },
    /// Hold seats for somebody at the box office, whom no limit of visitors is for.
    HoldAtBoxOffice {
        /// Id of the new hold.
        hold: Id128,
        /// For whom; not the id of anybody's pass, so that it counts against nobody.
        sub: Id128,
        /// Which seats.
        want: Want,
        /// Chosen seats may come from this channel's, too.
        channel: Option<String>,
    },
    /// Keep seats out of sale.
    Block {
        /// Which.
        pick: Pick,
        /// What for, for example `sponsor`.
        channel: String,
    },
    /// Put seats on sale that a channel kept.
    Unblock {
        /// Which.
        pick: Pick,
        /// Whose they are.
        channel: String,
    },
    /// Look at what is kept out of sale.
    ListBlocks,
    /// Wait for seats that come free.
    Join {
        /// Id of the new entry: whoever knows it may do with it what its owner may.
        entry: Id128,
        /// Who waits.
        sub: Id128,
        /// In this zone, or in any one.
        zone: Option<String>,
        /// For how many.
        quantity: u32,
        /// Where word of an offer is sent.
        contact: Option<Contact>,
    },
    /// Look at an entry, or what it became.
    ViewEntry {
        /// Which.
        entry: Id128,
    },
    /// Take an offer: it becomes a hold like any other.
    AcceptOffer {
        /// Of which entry.
        entry: Id128,
    },
    /// Wait no more, or decline the offer.
    Leave {
        /// Which entry.
        entry: Id128,
    },
    /// Give a hold back.
    Release {
        /// Which.
        hold: Id128,
        /// Who asks.
        sub: Id128,
    },
    /// Start paying; from here on time does not free the seats.
    BeginPayment(BeginPayment),
    /// Give an authorisation up that nobody answers for, and ask another gateway.
    MovePayment {
        /// Of which order.
        order: Id128,
        /// The authorisation that is given up.
        number: u32,
        /// Who is asked next.
        gateway: GatewayName,
    },
    /// Tell what became of an authorisation.
    Settle(Settlement),
    /// Keep what a buyer is about to be told of an order that is sold, unless somebody was faster.
    KeepReceipt {
        /// Of which order.
        order: Id128,
        /// What.
        receipt: Receipt,
    },
    /// Start to capture what is due; from here on the order can be refunded, but not voided.
    BeginCapture {
        /// Of which order.
        order: Id128,
    },
    /// Tell that an authorisation reserves nothing any more.
    Voided {
        /// Of which order.
        order: Id128,
        /// Which of its authorisations.
        number: u32,
    },
    /// Free a hold whose time is over. The timer says so; the state decides.
    Expire {
        /// Which.
        hold: Id128,
    },
    /// Something that is asked of tickets that are sold.
    After(AfterCommand),
    /// Something that is asked of messages.
    Post(PostCommand),
    /// Look at an order.
    ViewOrder {
        /// Which.
        order: Id128,
    },
    /// List what is to be done at the gateways.
    ListPaymentWork,
}

impl Command {
    /// Name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "hold",
            Self::ViewHold { .. } => "view_hold",
            Self::Amend { .. } => "amend",
            Self::Extend { .. } => "extend",
            Self::HoldAtBoxOffice { .. } => "hold_at_box_office",
            Self::Block { .. } => "block",
            Self::Unblock { .. } => "unblock",
            Self::ListBlocks => "list_blocks",
            Self::Join { .. } => "join",
            Self::ViewEntry { .. } => "view_entry",
            Self::AcceptOffer { .. } => "accept_offer",
            Self::Leave { .. } => "leave",
            Self::Release { .. } => "release",
            Self::BeginPayment(_) => "begin_payment",
            Self::MovePayment { .. } => "move_payment",
            Self::Settle(_) => "settle",
            Self::KeepReceipt { .. } => "keep_receipt",
            Self::BeginCapture { .. } => "begin_capture",
            Self::Voided { .. } => "voided",
            Self::Expire { .. } => "expire",
            Self::After(after) => after.label(),
            Self::Post(post) => post.label(),
            Self::ViewOrder { .. } => "view_order",
            Self::ListPaymentWork => "list_payment_work",
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The hold as it stands.
    Hold(HoldView),
    /// The hold is gone and its seats are free.
    Freed,
    /// What each channel keeps out of sale.
    Blocks(Vec<Block>),
    /// The entry as it stands.
    Entry(EntryView),
    /// The seats are the buyer's until the payment is settled: charge this much.
    Charge(ChargeView),
    /// The order as it stands.
    Order(Box<OrderView>),
    /// What is to be done at the gateways.
    PaymentWork(Box<PaymentWork>),
    /// What became of tickets.
    After(AfterReply),
    /// What is to be sent.
    Post(Box<PostWork>),
    /// There was nothing to do.
    Nothing,
    /// No, and nothing changed but perhaps that an overdue hold was freed.
    Refused(Refusal),
}

/// What is written to the log, and all that the state is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// The sale began with this seating.
    Opened {
        /// Name of the seating.
        plan: String,
    },
    /// Seats were taken out of stock.
    Held {
        /// By this hold.
        hold: Id128,
        /// For whom.
        sub: Id128,
        /// Which.
        seats: Vec<Seat>,
        /// What each costs, in minor units: what was promised is what will be charged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prices: Vec<u64>,
        /// Fees, taxes and currency that were promised with them.
        #[serde(default, skip_serializing_if = "Terms::is_plain")]
        terms: Terms,
        /// Until when.
        until: Timestamp,
    },
    /// Seats came to a hold, others went. Its seats stay in ascending order.
    Amended {
        /// Which hold.
        hold: Id128,
        /// What came.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        added: Vec<Seat>,
        /// What each of these costs, in minor units.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prices: Vec<u64>,
        /// What went.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<Seat>,
    },
    /// A hold got more time.
    Extended {
        /// Which.
        hold: Id128,
        /// Why.
        by: Extension,
        /// Until when.
        until: Timestamp,
    },
    /// Seats are kept out of sale.
    Blocked {
        /// By this channel.
        channel: String,
        /// Which.
        runs: Vec<Run>,
    },
    /// Seats are on sale again.
    Unblocked {
        /// By this channel.
        channel: String,
        /// Which.
        runs: Vec<Run>,
    },
    /// Somebody waits for seats that come free. A [`Change::Held`] with the id of an entry is the
    /// offer to it, and the entry waits no more.
    Joined {
        /// The entry.
        entry: Id128,
        /// Who.
        sub: Id128,
        /// In this zone, or in any one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// For how many.
        quantity: u32,
        /// Where word of an offer is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contact: Option<Contact>,
    },
    /// Somebody waits no more, and got no offer.
    Left {
        /// The entry.
        entry: Id128,
    },
    /// An offer was taken.
    Accepted {
        /// The hold that it is from now on.
        hold: Id128,
        /// Until when.
        until: Timestamp,
    },
    /// Word of an offer was sent, or can never be.
    OfferTold {
        /// The offer.
        hold: Id128,
        /// What the next server said, if it refused it for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A hold was given back.
    Released {
        /// Which.
        hold: Id128,
    },
    /// A hold's time was over.
    Expired {
        /// Which.
        hold: Id128,
    },
    /// A hold is being paid.
    PaymentBegun(PaymentBegun),
    /// The provider did not answer.
    PaymentUnknown {
        /// Of which order.
        order: Id128,
    },
    /// An authorisation was given up: whatever it reserves is to be voided, and another is asked for.
    PaymentMoved {
        /// Of which order.
        order: Id128,
        /// Who is asked now.
        gateway: GatewayName,
    },
    /// The buyer has to do something at the gateway first.
    PaymentAction {
        /// Of which order.
        order: Id128,
        /// The gateway's name for the authorisation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// What.
        action: Action,
    },
    /// The buyer is not charged; the hold stands again.
    PaymentDeclined {
        /// Of which order.
        order: Id128,
        /// Until when.
        until: Timestamp,
        /// The gateway's code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Whether the gateway may still reserve money for it, which is to be voided.
        #[serde(default)]
        is_void_owed: bool,
    },
    /// The seats are sold and the tickets valid.
    Sold {
        /// As which order.
        order: Id128,
        /// The gateway's name for the authorisation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// When the money is to be captured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capture_at: Option<Timestamp>,
    },
    /// The gateway is asked to capture: from here on the order can be refunded, but not voided.
    CaptureBegun {
        /// Of which order.
        order: Id128,
        /// When to ask again if nothing is heard.
        again_at: Timestamp,
    },
    /// The money is ours.
    Captured {
        /// Of which order.
        order: Id128,
        /// In minor units.
        amount: u64,
    },
    /// There is nothing to capture any more, although the order is sold.
    CaptureLost {
        /// Of which order.
        order: Id128,
    },
    /// An authorisation is to be voided: nobody will get anything for it.
    VoidOwed(VoidDue),
    /// It reserves nothing any more.
    Voided {
        /// Of which order.
        order: Id128,
        /// Which of its authorisations.
        number: u32,
    },
    /// The buyer was told this, and nothing else, of the order.
    ReceiptKept {
        /// Of which order.
        order: Id128,
        /// What.
        receipt: Receipt,
    },
    /// The changes before this one came of that webhook.
    Noticed {
        /// Its id.
        id: String,
    },
    /// Something became of tickets that are sold.
    After(AfterChange),
    /// Something became of a message.
    Post(PostChange),
}

/// That a hold is being paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentBegun {
    /// Which hold.
    pub hold: Id128,
    /// As which order.
    pub order: Id128,
    /// The client's idempotency key.
    pub key: String,
    /// Digest of what was asked with it.
    pub body: String,
    /// One ticket a seat.
    pub tickets: Vec<Id128>,
    /// The buyer's name.
    pub name: String,
    /// Where the tickets are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where word of them is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// The buyer's locale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// What is charged; absent in logs that are older than fees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
    /// Who is asked for the money.
    #[serde(default)]
    pub gateway: GatewayName,
    /// The gateway's token for the buyer's means of payment, so that the same can be asked again
    /// after a crash. It is of no use to anybody without our key of the gateway.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Until when the seats wait for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_at: Option<Timestamp>,
}

impl Change {
    /// The order that it changes, if any.
    #[must_use]
    pub const fn order(&self) -> Option<Id128> {
        match self {
            Self::PaymentBegun(PaymentBegun { order, .. })
            | Self::PaymentUnknown { order }
            | Self::PaymentMoved { order, .. }
            | Self::PaymentAction { order, .. }
            | Self::PaymentDeclined { order, .. }
            | Self::Sold { order, .. }
            | Self::ReceiptKept { order, .. }
            | Self::CaptureBegun { order, .. }
            | Self::Captured { order, .. }
            | Self::CaptureLost { order }
            | Self::VoidOwed(VoidDue { order, .. })
            | Self::Voided { order, .. } => Some(*order),
            Self::After(after) => after.order(),
            Self::Post(post) => Some(post.order()),
            Self::Opened { .. }
            | Self::Held { .. }
            | Self::Amended { .. }
            | Self::Extended { .. }
            | Self::Blocked { .. }
            | Self::Unblocked { .. }
            | Self::Joined { .. }
            | Self::Left { .. }
            | Self::Accepted { .. }
            | Self::OfferTold { .. }
            | Self::Released { .. }
            | Self::Expired { .. }
            | Self::Noticed { .. } => None,
        }
    }

    /// The message that it brings about, and to whose buyer.
    pub(super) fn brings_message(&self) -> Option<(Id128, Message)> {
        match self {
            Self::Sold { order, .. } => Some((*order, Message::Tickets)),
            Self::After(after) => after.brings_message(),
            _ => None,
        }
    }

    /// Whether seats went out of stock or came back.
    #[must_use]
    pub const fn moves_stock(&self) -> bool {
        match self {
            Self::Held { .. }
            | Self::Amended { .. }
            | Self::Blocked { .. }
            | Self::Unblocked { .. }
            | Self::Released { .. }
            | Self::Expired { .. } => true,
            Self::Opened { .. }
            | Self::Extended { .. }
            | Self::Joined { .. }
            | Self::Left { .. }
            | Self::Accepted { .. }
            | Self::OfferTold { .. }
            | Self::PaymentBegun(_)
            | Self::PaymentUnknown { .. }
            | Self::PaymentMoved { .. }
            | Self::PaymentAction { .. }
            | Self::PaymentDeclined { .. }
            | Self::Sold { .. }
            | Self::ReceiptKept { .. }
            | Self::CaptureBegun { .. }
            | Self::Captured { .. }
            | Self::CaptureLost { .. }
            | Self::VoidOwed(_)
            | Self::Voided { .. }
            | Self::Noticed { .. }
            | Self::Post(_) => false,
            Self::After(after) => after.moves_stock(),
        }
    }
}
