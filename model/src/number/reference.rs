//! Decimal arithmetic the slow and obvious way, to hold [`Number`](super::Number) against: every number is a row of
//! single digits, one for each power of ten from -170 to 127, added and subtracted as on paper.

use std::cmp::Ordering;

/// The power of ten of the lowest digit kept: that of 1E-130 with 38 digits is -167.
const LOWEST: i32 = -170;
/// How many digits are kept: up to 10^127, above the sum of any two numbers.
const DIGITS: usize = 298;

/// A sign and its digits, lowest power first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
}

impl Decimal {
    /// From digits as text, the last of which stands at this power of ten.
    pub(super) fn new(negative: bool, digits: &str, exponent: i32) -> Self {
        let mut row = vec![0; DIGITS];
        for (place, digit) in digits.bytes().rev().enumerate() {
            row[(exponent - LOWEST) as usize + place] = digit - b'0';
        }
        Self { negative, digits: row }.canonical()
    }

    fn canonical(mut self) -> Self {
        self.negative &= self.digits.iter().any(|digit| *digit != 0);
        self
    }

    fn cmp_absolute(&self, other: &Self) -> Ordering {
        self.digits.iter().rev().cmp(other.digits.iter().rev())
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_absolute(other),
            (true, true) => other.cmp_absolute(self),
        }
    }

    pub(super) fn negated(&self) -> Self {
        Self { negative: !self.negative, digits: self.digits.clone() }.canonical()
    }

    pub(super) fn sum(&self, other: &Self) -> Self {
        let (high, low) =
            if self.cmp_absolute(other).is_ge() { (self, other) } else { (other, self) };
        let mut digits = Vec::with_capacity(DIGITS);
        let mut carry = 0i8;
        for (a, b) in high.digits.iter().zip(&low.digits) {
            let b = if high.negative == low.negative { *b as i8 } else { -(*b as i8) };
            let digit = *a as i8 + b + carry;
            digits.push(digit.rem_euclid(10) as u8);
            carry = digit.div_euclid(10);
        }
        assert_eq!(carry, 0, "the row of digits is too short");
        Self { negative: high.negative, digits }.canonical()
    }

    /// The powers of ten of the first and last digit that are not zero; `None` for zero.
    fn span(&self) -> Option<(i32, i32)> {
        let first = self.digits.iter().rposition(|digit| *digit != 0)?;
        let last = self.digits.iter().position(|digit| *digit != 0)?;
        Some((first as i32 + LOWEST, last as i32 + LOWEST))
    }

    /// Whether DynamoDB can keep it: 38 digits, magnitude -130 to 125.
    pub(super) fn fits(&self) -> bool {
        self.span().is_none_or(|(first, last)| first - last < 38 && (-130..=125).contains(&first))
    }

    /// The power of ten of the first digit; `None` for zero.
    pub(super) fn magnitude(&self) -> Option<i32> {
        self.span().map(|(first, _)| first)
    }

    /// Plain decimal, without zeros at either end that could be left out.
    pub(super) fn text(&self) -> String {
        let (whole, fraction): (Vec<_>, Vec<_>) = self
            .digits
            .iter()
            .enumerate()
            .rev()
            .partition(|(place, _)| *place as i32 + LOWEST >= 0);
        let write = |part: Vec<(usize, &u8)>| -> String {
            part.into_iter().map(|(_, digit)| char::from(b'0' + digit)).collect()
        };
        let (whole, fraction) = (write(whole), write(fraction));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let sign = if self.negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }
}
