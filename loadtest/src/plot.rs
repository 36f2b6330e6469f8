//! A run in one picture: who came, how the front followed, who entered.
//!
//! Plain SVG without script or fonts of its own, so that it can be looked at anywhere.

use std::fmt::Write as _;

use crate::report::{Report, Second};

const WIDTH: f64 = 960.0;
const PANEL: f64 = 200.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const GAP: f64 = 50.0;

/// One curve.
struct Curve {
    name: &'static str,
    color: &'static str,
    value: fn(&Second) -> f64,
}

/// Curves that share an axis.
struct Panel {
    title: &'static str,
    curves: &'static [Curve],
}

#[allow(clippy::cast_precision_loss)] // a crowd is far below 2^52
const PANELS: [Panel; 3] = [
    Panel {
        title: "a second",
        curves: &[
            Curve { name: "arrived", color: "#888888", value: |s| s.arrived_in_second as f64 },
            Curve { name: "admitted", color: "#0072b2", value: |s| s.admitted_in_second as f64 },
            Curve { name: "pace", color: "#d55e00", value: |s| s.pace },
        ],
    },
    Panel {
        title: "standard lane",
        curves: &[
            Curve { name: "issued", color: "#888888", value: |s| s.issued as f64 },
            Curve { name: "front", color: "#d55e00", value: |s| s.front as f64 },
            Curve { name: "admitted", color: "#0072b2", value: |s| s.admitted as f64 },
        ],
    },
    Panel {
        title: "visitors",
        curves: &[
            Curve { name: "waiting", color: "#888888", value: |s| s.waiting as f64 },
            Curve { name: "inside", color: "#0072b2", value: |s| s.inside as f64 },
            Curve { name: "orders", color: "#009e73", value: |s| s.orders as f64 },
        ],
    },
];

/// The picture.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_svg(&mut out, report);
    out
}

#[allow(clippy::cast_precision_loss)] // three panels
fn write_svg(out: &mut String, report: &Report) -> std::fmt::Result {
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP);
    let Report { event, visitors, .. } = report; // the event is a slug: nothing to escape
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(out, r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#)?;
    writeln!(out, r#"<text x="{LEFT}" y="20" font-size="15">{event}: {visitors} visitors</text>"#)?;
    let end = report.series.last().map_or(1.0, |second| second.at_secs).max(1.0);
    for (index, panel) in PANELS.iter().enumerate() {
        write_panel(out, panel, &report.series, TOP + index as f64 * (PANEL + GAP), end)?;
    }
    writeln!(out, "</svg>")
}

fn write_panel(
    out: &mut String,
    panel: &Panel,
    series: &[Second],
    top: f64,
    end: f64,
) -> std::fmt::Result {
    let (bottom, right) = (top + PANEL, WIDTH - RIGHT);
    let values = panel.curves.iter().flat_map(|curve| series.iter().map(curve.value));
    let most = values.fold(1.0, f64::max);
    writeln!(
        out,
        r##"<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="#444"/><text x="{}" y="{}" text-anchor="end">{most:.0}</text><text x="{}" y="{bottom}" text-anchor="end">0</text><text x="{right}" y="{}" text-anchor="end">{end:.0} s</text><text x="{LEFT}" y="{}">{}</text>"##,
        LEFT - 6.0,
        top + 10.0,
        LEFT - 6.0,
        bottom + 16.0,
        bottom + 16.0,
        panel.title,
    )?;
    let mut x = LEFT + 120.0;
    for Curve { name, color, value } in panel.curves {
        let points: Vec<String> = series
            .iter()
            .map(|second| {
                let x = LEFT + second.at_secs / end * (right - LEFT);
                let y = bottom - value(second) / most * PANEL;
                format!("{x:.1},{y:.1}")
            })
            .collect();
        writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="1.5"/><text x="{x}" y="{}" fill="{color}">{name}</text>"#,
            points.join(" "),
            bottom + 16.0,
        )?;
        x += 90.0;
    }
    Ok(())
}
