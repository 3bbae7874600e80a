//! Numbers of many rounds, and what is said about them.

/// The samples of one thing, round by round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    rounds: Vec<Vec<f64>>,
}

impl Samples {
    pub(crate) fn add(&mut self, round: Vec<f64>) {
        self.rounds.push(round);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rounds.iter().all(Vec::is_empty)
    }

    /// The middle of all.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn quantile(&self, share: f64) -> f64 {
        quantile(self.rounds.concat(), share)
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The median over the rounds of what `compare` makes of the two medians of one round: what drifts from round to
    /// round hits both sides of each.
    pub(crate) fn against(&self, other: &Samples, compare: impl Fn(f64, f64) -> f64) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        quantile(pairs.map(|(own, other)| compare(median(own), median(other))).collect(), 0.5)
    }

    pub(crate) fn ratio(&self, other: &Samples) -> f64 {
        self.against(other, |own, other| own / other)
    }

    pub(crate) fn added(&self, other: &Samples) -> f64 {
        self.against(other, |own, other| own - other)
    }
}

fn median(numbers: &[f64]) -> f64 {
    quantile(numbers.to_vec(), 0.5)
}

fn quantile(mut numbers: Vec<f64>, share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let position = (numbers.len().saturating_sub(1) as f64 * share).round() as usize;
    numbers.get(position).copied().unwrap_or(f64::NAN)
}
