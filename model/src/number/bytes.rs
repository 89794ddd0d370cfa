//! Numbers inside keys: bytes whose order is the numbers' order.
//!
//! A number is cut into digits of base 100, aligned to the decimal point: `123.4` is `01 23 40`. The first byte
//! holds the sign and the power of 100 of the first such digit, `p` in -65..=62:
//!
//! | number   | first byte      | then, for each digit `d` of base 100           |
//! |----------|-----------------|------------------------------------------------|
//! | positive | `0x80 + 65 + p` | `2d + 1`, and `2d` for the last                |
//! | zero     | `0x80`          | `0`: as if it were the digit 00, the last      |
//! | negative | as if positive, all bits inverted | as if positive, all bits inverted |
//!
//! The low bit that says "more follow" makes the encoding delimit itself, and sorts a number below the longer ones that
//! begin like it. A first byte and at most 20 digits make at most 21 bytes; small integers take 2.
//!
//! Each number has one encoding, and what is not one decodes to nothing: a first or last digit of 00 (zero apart), a
//! digit above 99, more than 38 decimal digits. Every first byte is in use, so that there is no room to change this
//! encoding within itself; a new one needs a new kind of key.

use super::{DIGITS_MAX, Number, digits_of};

/// The first byte of zero, and of the positive numbers of the lowest power of 100.
const ZERO_BYTE: u8 = 0x80;
/// The lowest power of 100 of a first digit.
const POWER_MIN: i32 = -65;
/// Digits of base 100, at most: 38 decimal digits that begin and end in the middle of one.
const PAIRS_MAX: usize = 20;

impl Number {
    /// Appends the order-preserving, self-delimiting encoding: at most 21 bytes.
    pub fn encode_key(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (pairs, count) = self.base_100();
        let power = if self.is_zero() { POWER_MIN } else { self.magnitude().div_euclid(2) };
        // `power - POWER_MIN` is in 0..=127 for every magnitude there is.
        out.push(ZERO_BYTE + (power - POWER_MIN) as u8);
        out.extend(pairs[..count].iter().rev().map(|pair| 2 * pair + 1));
        if let Some(last) = out.last_mut() {
            *last -= 1;
        }
        if self.negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// Decodes what [`Number::encode_key`] wrote from the front of `input`, and moves `input` past it; `None`, with
    /// `input` left where it was, if no number's encoding stands there.
    #[must_use]
    pub fn decode_key(input: &mut &[u8]) -> Option<Self> {
        let (&first, mut rest) = input.split_first()?;
        let negative = first < ZERO_BYTE;
        let inverted = if negative { 0xff } else { 0 };
        let power = i32::from((first ^ inverted) - ZERO_BYTE) + POWER_MIN;

        let mut coefficient = 0u128;
        for index in 0..PAIRS_MAX {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            let (pair, more) = ((byte ^ inverted) / 2, (byte ^ inverted) % 2 == 1);
            if pair > 99 || (pair == 0 && index == 0 && more) {
                return None;
            }
            if more {
                coefficient = append(coefficient, 100, pair)?;
                continue;
            }
            let number = if pair == 0 {
                let zero = index == 0 && first == ZERO_BYTE;
                zero.then_some(Self::ZERO)?
            } else {
                finish(negative, coefficient, pair, power - index as i32)?
            };
            *input = rest;
            return Some(number);
        }
        None
    }

    /// The digits of base 100, last first, and how many they are.
    fn base_100(&self) -> ([u8; PAIRS_MAX], usize) {
        let mut pairs = [0; PAIRS_MAX];
        let mut rest = self.coefficient;
        // With an odd exponent the last decimal digit is the first of its pair.
        let (mut pair, mut divisor) = if self.exponent % 2 == 0 { (1, 100) } else { (10, 10) };
        let count = self.pairs();
        for slot in &mut pairs[..count] {
            *slot = (rest % divisor) as u8 * pair;
            rest /= divisor;
            (pair, divisor) = (1, 100);
        }
        (pairs, count)
    }
}

/// The number whose digits before the last of base 100 are `coefficient`, the last being `pair` at this power of 100.
fn finish(negative: bool, coefficient: u128, pair: u8, power: i32) -> Option<Number> {
    let (coefficient, exponent) = if pair.is_multiple_of(10) {
        (append(coefficient, 10, pair / 10)?, 2 * power + 1)
    } else {
        (append(coefficient, 100, pair)?, 2 * power)
    };
    // The magnitude is in range for every first byte, and the last decimal digit is not zero.
    let fits = digits_of(coefficient) <= DIGITS_MAX;
    fits.then_some(Number { negative, coefficient, exponent: i16::try_from(exponent).ok()? })
}

fn append(coefficient: u128, base: u128, digit: u8) -> Option<u128> {
    coefficient.checked_mul(base)?.checked_add(u128::from(digit))
}
