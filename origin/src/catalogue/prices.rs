//! What does a seat cost? By round and category, in cents of a US dollar.

/// Prices of categories 1 to 4.
#[must_use]
pub fn prices(round: &str) -> [u64; 4] {
    let dollars = match round {
        "Final" => [6_730, 4_210, 2_790, 2_030],
        "Semi-final" => [3_295, 2_350, 930, 455],
        "Match for third place" => [1_000, 750, 415, 165],
        "Quarter-final" => [1_775, 1_300, 680, 275],
        "Round of 16" => [980, 750, 265, 170],
        "Round of 32" => [680, 540, 240, 105],
        _ => [620, 465, 220, 60],
    };
    dollars.map(|price| price * 100)
}
