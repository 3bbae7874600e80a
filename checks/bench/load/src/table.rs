//! The table at the end.

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    own: String,
    beside: String,
    compared: String,
    target: String,
    verdict: &'static str,
}

/// A figure that the project sets itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    /// Without a figure to reach.
    pub(crate) fn new(what: impl Into<String>, own: String, beside: String, compared: String) -> Row {
        Row { what: what.into(), own, beside, compared, target: String::new(), verdict: "" }
    }

    /// With a figure; `value` is what it is about, `text` writes it.
    pub(crate) fn judged(mut self, value: f64, target: Target, text: impl Fn(f64) -> String) -> Row {
        let (met, target) = match target {
            Target::AtMost(limit) => (value <= limit, format!("≤ {}", text(limit))),
            Target::AtLeast(limit) => (value >= limit, format!("≥ {}", text(limit))),
        };
        self.target = target;
        self.verdict = if met { "met" } else { "missed" };
        self
    }

    /// Of something that did not run.
    pub(crate) fn failed(what: impl Into<String>) -> Row {
        Row { verdict: "FAILED", ..Row::new(what, String::new(), String::new(), String::new()) }
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.verdict == "FAILED"
    }

    fn cells(&self) -> [&str; 6] {
        [&self.what, &self.own, &self.beside, &self.compared, &self.target, self.verdict]
    }
}

/// Prints all rows with columns of equal width.
pub(crate) fn print(rows: &[Row]) {
    let head = ["what", "nix-jail", "beside", "compared", "target", ""];
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: [&str; 6]| {
        let cells: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    };
    line(head);
    println!("{}", "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)));
    rows.iter().for_each(|row| line(row.cells()));
}

/// A difference, with its sign.
pub(crate) fn added(value: f64, text: impl Fn(f64) -> String) -> String {
    format!("{}{}", if value < 0.0 { '-' } else { '+' }, text(value.abs()))
}

pub(crate) fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

pub(crate) fn microseconds(value: f64) -> String {
    format!("{value:.0} µs")
}

pub(crate) fn times(value: f64) -> String {
    format!("{value:.2} ×")
}

pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
