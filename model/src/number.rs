//! Exact decimal numbers of 38 significant digits, as DynamoDB has them.
//!
//! A number is a sign, a whole coefficient of at most 38 digits and a power of ten. Its *magnitude*, the power of
//! ten of its first digit, lies between -130 and 125, so that numbers reach from 1E-130 to
//! 9.9999999999999999999999999999999999999E+125 on either side of zero. What would need more digits or another
//! magnitude is refused, never rounded: sums and differences are exact or they are errors.
//!
//! - `text`: what a number looks like: parsing, and the one form that is answered.
//! - `bytes`: the encoding inside keys, whose order is the numbers' order.
//!
//! # Invariants
//! - There is one representation of a value: the coefficient ends in no zero, and zero is `+0E0`. Derived
//!   equality and hashing are therefore by value: `1`, `1.0` and `1e0` are one number, and so are `0` and `-0`.
//! - The coefficient is below 10^38, and the magnitude in its range, in every number in hand.
//!
//! # Caveats
//! DynamoDB judges the magnitude of a zero by how it is written: `0e126` overflows, `0.0e126` does not, and `0e-131`
//! underflows. All three agree with "the exponent, less the digits after the point", which is what stands here.

mod bytes;
mod text;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::error::{Error, Result};

/// Significant digits, at most.
const DIGITS_MAX: u32 = 38;
/// The power of ten of the first digit, at least.
const MAGNITUDE_MIN: i32 = -130;
/// The power of ten of the first digit, at most.
const MAGNITUDE_MAX: i32 = 125;

/// An exact decimal number of up to 38 significant digits.
///
/// ```
/// use stator_model::Number;
///
/// let price: Number = "0019.90".parse()?;
/// assert_eq!(price.to_string(), "19.9");
/// assert_eq!(price.checked_add(&Number::from(1))?, "2.09e1".parse()?);
/// assert!("1e126".parse::<Number>().is_err());
/// # Ok::<(), stator_model::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    coefficient: u128,
    exponent: i16,
}

/// The digits, as [`Display`](std::fmt::Display) has them: what it is made of says little to people.
impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "N({self})")
    }
}

/// Why a value is not a number that can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutOfRange {
    Overflow,
    Underflow,
    Precision,
}

impl OutOfRange {
    fn error(self) -> Error {
        Error::validation(match self {
            Self::Overflow => {
                "Number overflow. Attempting to store a number with magnitude larger than supported range"
            }
            Self::Underflow => {
                "Number underflow. Attempting to store a number with magnitude smaller than supported range"
            }
            Self::Precision => "Attempting to store more than 38 significant digits in a Number",
        })
    }
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self { negative: false, coefficient: 0, exponent: 0 };

    /// `coefficient * 10^exponent`, made canonical and judged.
    fn from_parts(
        negative: bool,
        coefficient: u128,
        exponent: i32,
    ) -> std::result::Result<Self, OutOfRange> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        let (coefficient, zeros) = strip_zeros(coefficient);
        let exponent = exponent.saturating_add(zeros);
        let digits = digits_of(coefficient);
        let magnitude = exponent.saturating_add(digits as i32 - 1);
        if magnitude > MAGNITUDE_MAX {
            Err(OutOfRange::Overflow)
        } else if magnitude < MAGNITUDE_MIN {
            Err(OutOfRange::Underflow)
        } else if digits > DIGITS_MAX {
            Err(OutOfRange::Precision)
        } else {
            // Within -130 - 37 and 125, by the three checks.
            Ok(Self { negative, coefficient, exponent: exponent as i16 })
        }
    }

    /// A whole number of 64 bits, which always fits.
    fn from_integer(negative: bool, absolute: u64) -> Self {
        let (coefficient, exponent) = strip_zeros(u128::from(absolute));
        let exponent = exponent as i16;
        if coefficient == 0 { Self::ZERO } else { Self { negative, coefficient, exponent } }
    }

    /// The sum.
    ///
    /// # Errors
    /// `ValidationException` if the exact sum is out of range or needs more than 38 significant digits. For too many
    /// digits DynamoDB answers the text of an overflow, and so does this.
    pub fn checked_add(&self, other: &Self) -> Result<Self> {
        self.exact_sum(other).map_err(|reason| {
            match reason {
                OutOfRange::Precision => OutOfRange::Overflow,
                reason => reason,
            }
            .error()
        })
    }

    /// The difference.
    ///
    /// # Errors
    /// As [`Number::checked_add`].
    pub fn checked_sub(&self, other: &Self) -> Result<Self> {
        self.checked_add(&other.negated())
    }

    /// Whether this is below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether this is zero.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.coefficient == 0
    }

    /// The number as an integer, if it is whole and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        self.to_i128()?.try_into().ok()
    }

    /// The number as an integer, if it is whole, not negative, and fits.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        self.to_i128()?.try_into().ok()
    }

    /// The number as an integer, if it is whole and fits.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        // A negative exponent means a fraction, for the coefficient ends in no zero.
        let exponent = u32::try_from(self.exponent).ok()?;
        let absolute: i128 = scale_up(self.coefficient, exponent)?.try_into().ok()?;
        Some(if self.negative { -absolute } else { absolute })
    }

    /// The nearest binary floating-point number.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        // The standard library's parser rounds correctly, and the range lies within that of f64, so that the
        // fallback is never taken.
        format!("{sign}{}e{}", self.coefficient, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The number's size in bytes, as DynamoDB accounts for it: 1 for zero; else 1, and 1 for each pair of
    /// digits, and 1 for a minus sign. Pairs are those of base 100: `12.3` is `12 30`, `1.2` is `01 20`.
    #[must_use]
    pub fn size(&self) -> usize {
        if self.is_zero() { 1 } else { 1 + self.pairs() + usize::from(self.negative) }
    }

    /// How many digits of base 100 the number has, from the first to the last that is not zero; 1 for zero.
    fn pairs(&self) -> usize {
        let first = self.magnitude().div_euclid(2);
        let last = i32::from(self.exponent).div_euclid(2);
        // The last digit does not stand before the first.
        (first - last + 1) as usize
    }

    /// The power of ten of the first digit; of zero, 0.
    fn magnitude(&self) -> i32 {
        i32::from(self.exponent) + digits_of(self.coefficient) as i32 - 1
    }

    fn negated(&self) -> Self {
        Self { negative: !self.negative && !self.is_zero(), ..*self }
    }

    fn exact_sum(&self, other: &Self) -> std::result::Result<Self, OutOfRange> {
        if self.is_zero() {
            return Ok(*other);
        }
        if other.is_zero() {
            return Ok(*self);
        }
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let apart = high.exponent.abs_diff(low.exponent);
        // Brought to the lower exponent, `high` may pass 128 bits, that is 3.4 * 10^38. The exponents then differ, so
        // that the sum ends in `low`'s last digit, which is not zero: no zeros can be stripped from it, and with
        // `low` below 10^38 it has more than 38 digits. So what overflows here is never a sum that fits.
        let high_coefficient =
            scale_up(high.coefficient, u32::from(apart)).ok_or(OutOfRange::Precision)?;
        let (negative, coefficient) = if high.negative == low.negative {
            let sum = high_coefficient.checked_add(low.coefficient).ok_or(OutOfRange::Precision)?;
            (high.negative, sum)
        } else if high_coefficient >= low.coefficient {
            (high.negative, high_coefficient - low.coefficient)
        } else {
            (low.negative, low.coefficient - high_coefficient)
        };
        Self::from_parts(negative, coefficient, i32::from(low.exponent))
    }

    /// Compares without the signs.
    fn cmp_absolute(&self, other: &Self) -> Ordering {
        if self.is_zero() || other.is_zero() {
            return self.coefficient.cmp(&other.coefficient);
        }
        self.magnitude()
            .cmp(&other.magnitude())
            .then_with(|| self.left_aligned().cmp(&other.left_aligned()))
    }

    /// The coefficient with zeros appended up to 38 digits: it stays below 10^38.
    fn left_aligned(&self) -> u128 {
        self.coefficient * 10u128.pow(DIGITS_MAX - digits_of(self.coefficient))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.cmp_absolute(other),
            (true, true) => other.cmp_absolute(self),
            (negative, other_negative) => other_negative.cmp(&negative),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Default for Number {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::from_integer(value < 0, value.unsigned_abs())
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::from_integer(false, value)
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::from(u64::from(value))
    }
}

/// The shortest decimal that reads back as the same binary number: `0.1` becomes 0.1, not the 55 digits it stands for.
impl TryFrom<f64> for Number {
    type Error = Error;

    /// # Errors
    /// `ValidationException` for infinities, for what is not a number, and out of range.
    fn try_from(value: f64) -> Result<Self> {
        // `{:e}` of a float is its shortest form, of at most 17 digits.
        format!("{value:e}").parse()
    }
}

/// How many decimal digits a coefficient has; zero has one.
fn digits_of(coefficient: u128) -> u32 {
    coefficient.checked_ilog10().unwrap_or(0) + 1
}

/// `coefficient * 10^by`, if it fits.
fn scale_up(coefficient: u128, by: u32) -> Option<u128> {
    coefficient.checked_mul(10u128.checked_pow(by)?)
}

/// The coefficient without its trailing zeros, and how many those were; zero stays as it is.
fn strip_zeros(mut coefficient: u128) -> (u128, i32) {
    let mut zeros = 0;
    if coefficient == 0 {
        return (0, 0);
    }
    // There are at most 38, so that each power of two is needed once at most.
    for step in [32, 16, 8, 4, 2, 1] {
        let power = 10u128.pow(step);
        if coefficient.is_multiple_of(power) {
            coefficient /= power;
            zeros += step as i32;
        }
    }
    (coefficient, zeros)
}
