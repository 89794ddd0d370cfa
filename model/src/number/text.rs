//! What numbers look like: what is read as one, and the one form in which each is written.
//!
//! Read is `[+-] digits [. digits] [e|E [+-] digits]` in ASCII, where the digits before or after the point may be
//! missing, but not both. Zeros in front and at the end do not count as significant, however many they are; reading
//! takes one pass and no memory whatever the length.
//!
//! Written is plain decimal, never an exponent: `1E+2` is `100`, `1e-3` is `0.001`. That is at most 170 bytes.

use std::fmt;
use std::str::FromStr;

use super::{DIGITS_MAX, MAGNITUDE_MAX, MAGNITUDE_MIN, Number, OutOfRange};
use crate::error::{Error, Result};

/// How much of what is not a number its error repeats, in bytes: an error's text travels in a header.
const ECHO_BYTES_MAX: usize = 1024;

impl FromStr for Number {
    type Err = Error;

    /// # Errors
    /// `ValidationException` with DynamoDB's text: not a number, out of range, or of more than 38 significant digits.
    fn from_str(text: &str) -> Result<Self> {
        let written = Written::parse(text.as_bytes()).ok_or_else(|| not_numeric(text))?;
        written.number().map_err(OutOfRange::error)
    }
}

fn not_numeric(text: &str) -> Error {
    const MESSAGE: &str = "The parameter cannot be converted to a numeric value";
    if text.is_empty() {
        return Error::validation(MESSAGE);
    }
    let mut end = text.len().min(ECHO_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let echo = &text[..end];
    Error::validation(format!("{MESSAGE}: {echo}"))
}

/// A number as it was written, before it is judged. Counts are i64, for a text may be as long as memory.
#[derive(Default)]
struct Written {
    negative: bool,
    /// The significant digits as a whole number, as long as there are at most 38 of them.
    coefficient: u128,
    /// How many digits stand from the first to the last that is not zero.
    significant: i64,
    /// How many zeros follow the last digit that is not zero; none are counted for zero itself.
    trailing_zeros: i64,
    /// How many digits stand after the point.
    fraction: i64,
    /// The exponent written after `e`.
    exponent: i64,
}

impl Written {
    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = sign(text);
        let mut written = Self { negative, ..Self::default() };
        let after_whole = written.digits(text);
        let after_fraction = match after_whole {
            [b'.', rest @ ..] => {
                let end = written.digits(rest);
                written.fraction = (rest.len() - end.len()) as i64;
                end
            }
            end => end,
        };
        let has_point = after_fraction.len() != after_whole.len();
        if text.len() - after_fraction.len() == usize::from(has_point) {
            return None;
        }
        match after_fraction {
            [] => {}
            [b'e' | b'E', rest @ ..] => written.exponent = exponent(rest)?,
            _ => return None,
        }
        Some(written)
    }

    /// Takes the digits at the front of `text`, and gives what follows them.
    fn digits<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        for byte in digits {
            self.digit(byte - b'0');
        }
        rest
    }

    fn digit(&mut self, digit: u8) {
        if digit == 0 {
            // Zeros count once a digit follows that is not; those in front of all such never do.
            self.trailing_zeros += i64::from(self.significant > 0);
            return;
        }
        self.significant += self.trailing_zeros + 1;
        if self.significant <= i64::from(DIGITS_MAX) {
            // At most 38 digits come of it, so that neither the power nor the product overflows.
            let power = 10u128.pow(self.trailing_zeros as u32 + 1);
            self.coefficient = self.coefficient * power + u128::from(digit);
        }
        self.trailing_zeros = 0;
    }

    fn number(&self) -> std::result::Result<Number, OutOfRange> {
        let exponent = self.exponent.saturating_sub(self.fraction);
        let exponent = exponent.saturating_add(self.trailing_zeros);
        // A zero is judged as if it had one digit: see the caveat at the head of `number`.
        let magnitude = exponent.saturating_add((self.significant - 1).max(0));
        if magnitude > i64::from(MAGNITUDE_MAX) {
            Err(OutOfRange::Overflow)
        } else if magnitude < i64::from(MAGNITUDE_MIN) {
            Err(OutOfRange::Underflow)
        } else if self.significant > i64::from(DIGITS_MAX) {
            Err(OutOfRange::Precision)
        } else if self.significant == 0 {
            Ok(Number::ZERO)
        } else {
            Ok(Number {
                negative: self.negative,
                coefficient: self.coefficient,
                // Within -130 - 37 and 125, by the checks above.
                exponent: exponent as i16,
            })
        }
    }
}

/// Takes a sign from the front: whether it is a minus, and the rest.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        text => (false, text),
    }
}

/// What stands after the `e`; an exponent too large for i64 is as good as the largest.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut absolute = 0i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        absolute = absolute.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
    }
    Some(if negative { -absolute } else { absolute })
}

impl fmt::Display for Number {
    /// DynamoDB's canonical form: plain decimal, without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.coefficient.to_string();
        if self.exponent >= 0 {
            let length = text.len() + usize::from(self.exponent.unsigned_abs());
            text.extend(std::iter::repeat_n('0', length - text.len()));
        } else {
            let fraction = usize::from(self.exponent.unsigned_abs());
            if text.len() <= fraction {
                // One zero stands before the point.
                let zeros = fraction - text.len() + 1;
                text.insert_str(0, &"0".repeat(zeros));
            }
            text.insert(text.len() - fraction, '.');
        }
        f.pad_integral(!self.negative, "", &text)
    }
}
