use serde_json::{Value, json};

use super::*;
use crate::venue::MapDocument;

/// A hall of two blocks and a floor.
fn hall() -> Value {
    json!({
        "width": 400, "height": 300,
        "field": { "x": 150, "y": 10, "w": 100, "h": 40 },
        "zones": [
            { "id": "near", "name": "Near", "color": "#0072B2" },
            { "id": "far", "name": "Far", "color": "#cc79a7" },
            { "id": "floor", "name": "Floor", "color": "#009e73" },
        ],
        "blocks": [
            { "label": "A", "zone": "near", "rows": [
                { "label": "1", "seats": [[100, 100], [105, 100], [110, 100]], "accessible": [1], "companion": [2] },
                { "label": "2", "seats": [[100, 108], [105, 108]], "restricted": [2] },
            ] },
            { "label": "B", "zone": "far", "tier": 2, "outline": [[0, 0], [9, 0], [9, 9]], "rows": [
                { "label": "1", "seats": [[200, 200]] },
            ] },
        ],
        "areas": [
            { "label": "Floor", "zone": "floor", "capacity": 500, "outline": [[150, 60], [250, 60], [250, 90]] },
        ],
    })
}

fn check(draft: &Value) -> Result<Venue, BadMap> {
    serde_json::from_value::<MapDraft>(draft.clone()).unwrap().check()
}

#[test]
fn a_sound_map_becomes_seats_in_the_order_in_which_they_were_drawn() {
    let venue = check(&hall()).unwrap();
    assert_eq!((venue.seats, venue.areas[0].capacity), (6, 500));
    let names: Vec<_> = (0..6).map(|seat| venue.name_of(seat).unwrap().to_string()).collect();
    assert_eq!(names, ["A-1-1", "A-1-2", "A-1-3", "A-2-1", "A-2-2", "B-1-1"]);
    assert_eq!(venue.name_of(6).unwrap().to_string(), "Floor-1", "places follow the seats");
    assert_eq!((venue.capacity(), venue.name_of(506)), (506, None));
    assert_eq!(venue.blocks[0].outline, [(96, 96), (114, 96), (114, 112), (96, 112)]);
    assert_eq!(venue.blocks[0].rows[0].attributes[&1], Attribute::Accessible);
    assert_eq!(venue.zones[0].color, "#0072b2");
    let plan = venue.plan(|zone| Some(zone.len() as u64)).unwrap();
    assert_eq!((plan.capacity(), plan.areas()[0].first, plan.price_of(0)), (506, 6, 4));
}

#[test]
fn a_map_reads_back_from_its_document_and_keeps_its_hash() {
    let venue = check(&hall()).unwrap();
    let document = MapDocument::new(&venue).unwrap();
    let again: Venue = serde_json::from_slice(&document.plain).unwrap();
    assert_eq!(again, venue);
    assert_eq!(MapDocument::new(&again).unwrap().hash, document.hash);
    let bowl = Venue::bowl(2_000).unwrap();
    let document = MapDocument::new(&bowl).unwrap();
    assert_eq!(serde_json::from_slice::<Venue>(&document.plain).unwrap(), bowl);
}

#[test]
#[rustfmt::skip] // reads in columns
fn what_does_not_fit_is_refused_by_its_place() {
    let many = |n: usize| (0..n).map(|at| json!([at % 400, at / 400])).collect::<Value>();
    refused("/width",                    json!(0),               "width");
    refused("/height",                   json!(100_001),         "height");
    refused("/field/w",                  json!(251),             "field");
    refused("/field/x",                  json!(i32::MAX),        "field");
    refused("/zones",                    json!([]),              "zones");
    refused("/zones/1/id",               json!("near"),          "zones[1].id");
    refused("/zones/0/color",            json!("blue"),          "zones[0].color");
    refused("/zones/0/color",            json!("#12345é"),       "zones[0].color");
    refused("/zones/0/name",             json!(" "),             "zones[0].name");
    refused("/blocks/1/label",           json!("A"),             "blocks[1].label");
    refused("/blocks/0/label",           json!("x".repeat(21)),  "blocks[0].label");
    refused("/blocks/0/zone",            json!("moon"),          "blocks[0].zone");
    refused("/blocks/0/rows",            json!([]),              "blocks[0].rows");
    refused("/blocks/0/rows/1/label",    json!("1"),             "blocks[0].rows[1].label");
    refused("/blocks/0/rows/0/seats",    json!([]),              "blocks[0].rows[0].seats");
    refused("/blocks/0/rows/0/seats",    many(501),              "blocks[0].rows[0].seats");
    refused("/blocks/0/rows/0/seats/1",  json!([100, 100]),      "blocks[0].rows[0].seats[1]");
    refused("/blocks/1/rows/0/seats/0",  json!([100, 100]),      "blocks[1].rows[0].seats[0]");
    refused("/blocks/0/rows/0/seats/1",  json!([400, 100]),      "blocks[0].rows[0].seats[1]");
    refused("/blocks/0/rows/0/seats/1",  json!([-1, 100]),       "blocks[0].rows[0].seats[1]");
    refused("/blocks/0/rows/0/accessible", json!([4]),           "blocks[0].rows[0].accessible");
    refused("/blocks/0/rows/0/companion",  json!([1]),           "blocks[0].rows[0].companion");
    refused("/blocks/0/rows/0/companion",  json!([3]),           "blocks[0].rows[0].companion");
    refused("/blocks/1/outline",         json!([[0, 0]]),        "blocks[1].outline");
    refused("/areas/0/label",            json!("A"),             "areas[0].label");
    refused("/areas/0/capacity",         json!(0),               "areas[0].capacity");
    refused("/areas/0/capacity",         json!(149_995),         "areas[0].capacity");
    refused("/areas/0/zone",             json!("far"),           "zones"); // floor has none then
}

#[track_caller]
fn refused(pointer: &str, value: Value, place: &str) {
    let mut bent = hall();
    *bent.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there")) = value;
    assert_eq!(check(&bent).map(|_| ()).unwrap_err().place, place);
}

#[test]
fn a_map_has_at_most_150000_seats() {
    let row = |y: usize| {
        let seats: Vec<_> = (0..500).map(|x| json!([x, y])).collect();
        json!({ "label": y.to_string(), "seats": seats })
    };
    let block = |at: usize| {
        let rows: Vec<_> = (0..100).map(|y| row(at * 100 + y)).collect();
        json!({ "label": at.to_string(), "zone": "near", "rows": rows })
    };
    let map = |blocks: usize| {
        json!({
            "width": 1000, "height": 1000, "field": { "x": 0, "y": 900, "w": 9, "h": 9 },
            "zones": [{ "id": "near", "name": "Near", "color": "#000000" }],
            "blocks": (0..blocks).map(block).collect::<Vec<_>>(),
        })
    };
    assert_eq!(check(&map(3)).unwrap().seats, 150_000);
    let refused = check(&map(4)).map(|_| ()).unwrap_err();
    assert_eq!((refused.place.as_str(), refused.found.as_str()), ("blocks[3].rows[0]", "150500"));
}
