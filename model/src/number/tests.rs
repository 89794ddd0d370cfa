use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;

use super::Number;
use super::reference::Decimal;
use crate::error::{Applied, ErrorKind, Retry};

const OVERFLOW: &str =
    "Number overflow. Attempting to store a number with magnitude larger than supported range";
const UNDERFLOW: &str =
    "Number underflow. Attempting to store a number with magnitude smaller than supported range";
const PRECISION: &str = "Attempting to store more than 38 significant digits in a Number";
const NINES: &str = "99999999999999999999999999999999999999";

fn number(text: &str) -> Number {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn refused(text: &str) -> String {
    let error = text.parse::<Number>().expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert_eq!(error.applied(), Applied::No);
    assert_eq!(error.retry(), Retry::Never);
    error.message().to_owned()
}

/// A number by its parts, in range: a sign, digits, and the power of ten of the last of them.
fn parts() -> impl Strategy<Value = (bool, String, i32)> {
    let digits = prop_oneof![
        3 => "[1-9][0-9]{0,37}",
        2 => "[1-9]0{0,36}[0-9]?",
        1 => "9{1,38}",
        1 => "[1-9]",
        1 => Just("0".to_owned()),
    ];
    (any::<bool>(), digits, any::<bool>(), 0..256i32).prop_map(|(negative, digits, near, at)| {
        // Half of the numbers lie close together, where sums and comparisons have something to do.
        let magnitude = if near { at % 40 - 20 } else { at - 130 };
        let exponent = magnitude - (digits.len() as i32 - 1);
        (negative, digits, exponent)
    })
}

fn any_number() -> impl Strategy<Value = (Number, Decimal)> {
    parts().prop_map(|(negative, digits, exponent)| {
        let sign = if negative { "-" } else { "" };
        // A zero's exponent is judged as written, so it is written without.
        let exponent = if digits == "0" { 0 } else { exponent };
        let text = format!("{sign}{digits}e{exponent}");
        (number(&text), Decimal::new(negative, &digits, exponent))
    })
}

fn encoded(number: &Number) -> Vec<u8> {
    let mut out = Vec::new();
    number.encode_key(&mut out);
    out
}

#[test]
fn canonical_form() {
    for (written, answered) in [
        ("1", "1"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("+0", "0"),
        ("00", "0"),
        ("0e5", "0"),
        ("0.0e3", "0"),
        ("0e-5", "0"),
        ("100", "100"),
        ("1E+2", "100"),
        ("1e3", "1000"),
        ("+1000", "1000"),
        ("001000.00", "1000"),
        ("007", "7"),
        ("001.23", "1.23"),
        ("1.10", "1.1"),
        ("1.5e2", "150"),
        ("1e-3", "0.001"),
        ("123e-2", "1.23"),
        ("1.23e-1", "0.123"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("5.e1", "50"),
        ("-273.15", "-273.15"),
        ("9.9e10", "99000000000"),
        ("1e-20", "0.00000000000000000001"),
        ("-17.4E37", "-174000000000000000000000000000000000000"),
        ("1e+0000000000000000000000000000000000005", "100000"),
        (NINES, NINES),
    ] {
        assert_eq!(number(written).to_string(), answered, "{written}");
    }
    assert_eq!(number("1e125").to_string(), format!("1{}", "0".repeat(125)));
    assert_eq!(number("1e-130").to_string(), "0.".to_owned() + &"0".repeat(129) + "1");
    assert_eq!(number("-9e-130").to_string(), "-0.".to_owned() + &"0".repeat(129) + "9");
    let longest = number("-1.2345678901234567890123456789012345678e-130").to_string();
    assert_eq!(longest.len(), 170);
}

#[test]
fn display_heeds_width() {
    assert_eq!(
        format!("{:>6}|{:<6}|{:06}", number("-1.5"), number("2"), number("-3")),
        "  -1.5|2     |-00003"
    );
}

#[test]
fn what_is_not_a_number() {
    assert_eq!(refused(""), "The parameter cannot be converted to a numeric value");
    for text in [
        "abc",
        "NaN",
        "Infinity",
        "-Infinity",
        "-",
        "+",
        ".",
        "-.",
        "e5",
        ".e5",
        "1e",
        "1e+",
        "1e-",
        "1e5.0",
        "1.2.3",
        "--1",
        "+-1",
        " 1",
        "1 ",
        "1_000",
        "1,5",
        "0x10",
        "١",
        "1e5x",
        "1-",
        "\0",
    ] {
        let expected = format!("The parameter cannot be converted to a numeric value: {text}");
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn a_long_text_is_not_echoed_whole() {
    let message = refused(&"é".repeat(1_000_000));
    assert!(message.len() < 1200, "{}", message.len());
    assert!(message.ends_with("éé"));
}

#[test]
fn magnitude() {
    for text in
        ["1e125", "9.99999999e125", "0.1e126", "0.001e128", "1e-130", "10e-131", "1000e-133"]
    {
        number(text);
        number(&format!("-{text}"));
    }
    for text in
        ["1e126", "11e125", "10e125", "1.0e100000000", "1e99999999999999999999999", "1000e123"]
    {
        assert_eq!(refused(text), OVERFLOW, "{text}");
        assert_eq!(refused(&format!("-{text}")), OVERFLOW, "{text}");
    }
    for text in ["1e-131", "0.9e-130", "9e-131", "0.01e-129", "1e-99999999999999999999999"] {
        assert_eq!(refused(text), UNDERFLOW, "{text}");
        assert_eq!(refused(&format!("-{text}")), UNDERFLOW, "{text}");
    }
    // Exponents that would wrap around, and those whose largest stand-in is moved by the other digits.
    for text in ["1e18446744073709551616", "1e9223372036854775808", "10e99999999999999999999"] {
        assert_eq!(refused(text), OVERFLOW, "{text}");
    }
    for text in ["1e-18446744073709551616", "0.12e-99999999999999999999"] {
        assert_eq!(refused(text), UNDERFLOW, "{text}");
    }
    // The magnitude is judged before the digits.
    assert_eq!(refused(&format!("{NINES}9e125")), OVERFLOW);
    assert_eq!(refused(&format!("0.{NINES}9e-130")), UNDERFLOW);
}

/// DynamoDB judges a zero by how it is written.
#[test]
fn magnitude_of_zero() {
    for text in ["0e125", "0.0e126", "0.00e127", "0e-130", "0.0e-129", "-0e125"] {
        assert_eq!(number(text), Number::ZERO, "{text}");
    }
    assert_eq!(refused("0e126"), OVERFLOW);
    assert_eq!(refused("-00e126"), OVERFLOW);
    assert_eq!(refused("0.0e127"), OVERFLOW);
    assert_eq!(refused("0e-131"), UNDERFLOW);
    assert_eq!(refused("0e999999999999999999999"), OVERFLOW);
}

#[test]
fn precision() {
    for text in [
        "3.1415926535897932384626433832795028841",
        "314159265358979323846.26433832795028841",
        "31415926535897932384626433832795028841e30",
        "00000000000000000000031415926535897932384626433832795028841000000000000000.0000000",
        "0.00000000000000000000000000000000000000000000031415926535897932384626433832795028841",
    ] {
        number(text);
    }
    for text in [
        "3.14159265358979323846264338327950288419",
        "314159265358979323846264338327950288419e30",
        "100000000000000000000000000000000000001",
        "1.00000000000000000000000000000000000001",
    ] {
        assert_eq!(refused(text), PRECISION, "{text}");
    }
}

#[test]
fn a_long_text_is_one_pass() {
    let zeros = "0".repeat(2_000_000);
    assert_eq!(number(&format!("-{zeros}1")).to_string(), "-1");
    assert_eq!(number(&format!("1.{zeros}")).to_string(), "1");
    assert_eq!(number(&format!("0.{zeros}12e2000001")).to_string(), "1.2");
    assert_eq!(number(&format!("12{zeros}e-2000000")).to_string(), "12");
    assert_eq!(number(&format!("1e-{zeros}1")).to_string(), "0.1");
    assert_eq!(refused(&format!("1{zeros}")), OVERFLOW);
    assert_eq!(refused(&format!("0.{zeros}1")), UNDERFLOW);
    assert_eq!(refused(&format!("1{zeros}1e-2000001")), PRECISION);
    assert_eq!(refused(&"7".repeat(2_000_000)), OVERFLOW);
}

#[test]
fn sums() {
    for (a, b, sum) in [
        ("1", "2", "3"),
        ("1", "-1", "0"),
        ("-1", "-2", "-3"),
        ("0.1", "0.2", "0.3"),
        ("10000000000000000000000", "1", "10000000000000000000001"),
        ("10000000000000000000000", "-1", "9999999999999999999999"),
        ("9e125", "9e124", "9.9e125"),
        ("1e125", "0", "1e125"),
        ("1e37", "1", "10000000000000000000000000000000000001"),
        // 39 digits before they are stripped, one after.
        (NINES, "1", "1e38"),
        ("5e37", "5e37", "1e38"),
        // In the course of this one 10^38 stands, which has 39 digits.
        ("1e38", "-1", NINES),
        ("-1e38", "1", "-99999999999999999999999999999999999999"),
        ("9e125", "-9e125", "0"),
        ("2.2e-130", "-1.2e-130", "1e-130"),
    ] {
        assert_eq!(number(a).checked_add(&number(b)), Ok(number(sum)), "{a} + {b}");
        assert_eq!(number(b).checked_add(&number(a)), Ok(number(sum)), "{b} + {a}");
        assert_eq!(number(sum).checked_sub(&number(a)), Ok(number(b)), "{sum} - {a}");
    }
}

#[test]
fn sums_that_do_not_fit() {
    for (a, b, message) in [
        ("9e125", "9e125", OVERFLOW),
        ("-9e125", "-1e125", OVERFLOW),
        // Too many digits are DynamoDB's overflow, too.
        ("1e50", "1", OVERFLOW),
        ("1e50", "-1", OVERFLOW),
        ("1e38", "1", OVERFLOW),
        ("3e38", "1", OVERFLOW),
        ("4e38", "-1", OVERFLOW),
        ("1e39", "-1", OVERFLOW),
        (NINES, "0.1", OVERFLOW),
        ("1e125", "1e-130", OVERFLOW),
        ("1e125", "-1.2345678901234567890123456789012345678e-130", OVERFLOW),
        // The only sums below the range are differences of close neighbours.
        ("1.5e-130", "-1.4e-130", UNDERFLOW),
    ] {
        let error = number(a).checked_add(&number(b)).expect_err(a);
        assert_eq!((error.kind(), error.message()), (ErrorKind::Validation, message), "{a} + {b}");
    }
}

#[test]
fn integers() {
    for value in [0, 1, -1, 10, 100, -7_000, i64::MAX, i64::MIN, 1_000_000_000_000_000_000] {
        let number = Number::from(value);
        assert_eq!(number.to_string(), value.to_string());
        assert_eq!(number, value.to_string().parse().unwrap());
        assert_eq!(number.to_i64(), Some(value));
        assert_eq!(number.to_u64(), u64::try_from(value).ok());
        assert_eq!(number.to_i128(), Some(i128::from(value)));
    }
    assert_eq!(Number::from(u64::MAX).to_u64(), Some(u64::MAX));
    assert_eq!(Number::from(u64::MAX).to_i64(), None);
    assert_eq!(Number::from(-5i32), Number::from(-5i64));
    assert_eq!(Number::from(5u32), Number::from(5u64));
    assert_eq!(number("1.5").to_i64(), None);
    assert_eq!(number("9223372036854775808").to_i64(), None);
    assert_eq!(number("1e125").to_i128(), None);
    assert_eq!(number(NINES).to_i128(), Some(99999999999999999999999999999999999999));
    assert_eq!(number("-17e37").to_i128(), Some(-170000000000000000000000000000000000000));
    assert_eq!(number("18e37").to_i128(), None);
}

#[test]
fn floats() {
    for (value, text) in [
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e100, "1e100"),
        (1.0 / 3.0, "0.3333333333333333"),
        (-2.5e-7, "-0.00000025"),
    ] {
        let converted = Number::try_from(value).unwrap();
        assert_eq!(converted, number(text));
        assert_eq!(converted.to_f64(), value);
    }
    assert_eq!(number("1e-130").to_f64(), 1e-130);
    assert_eq!(number("0.1000000000000000055511151231257827021").to_f64(), 0.1);
    assert_eq!(Number::try_from(f64::MAX).unwrap_err().message(), OVERFLOW);
    assert_eq!(Number::try_from(f64::MIN_POSITIVE).unwrap_err().message(), UNDERFLOW);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = Number::try_from(value).unwrap_err().message().to_owned();
        assert!(message.starts_with("The parameter cannot be converted"), "{message}");
    }
}

#[test]
fn sizes() {
    for (text, size) in [
        ("0", 1),
        ("1", 2),
        ("12", 2),
        ("123", 3),
        ("1234", 3),
        ("100", 2),
        ("1000", 2),
        ("1.2", 3),
        ("12.3", 3),
        ("-1", 3),
        ("-1234", 4),
        ("1e125", 2),
        (NINES, 20),
        // 38 digits that begin in the middle of a pair.
        ("9.9999999999999999999999999999999999999", 21),
        ("-9.9999999999999999999999999999999999999", 22),
    ] {
        assert_eq!(number(text).size(), size, "{text}");
    }
}

/// The bytes of the encoding are a promise to what is on disk.
#[test]
fn golden_key_bytes() {
    for (text, bytes) in [
        ("0", &[0x80, 0x00][..]),
        ("1", &[0xc1, 0x02]),
        ("10", &[0xc1, 0x14]),
        ("99", &[0xc1, 0xc6]),
        ("100", &[0xc2, 0x02]),
        ("123.4", &[0xc2, 0x03, 0x2f, 0x50]),
        ("0.1", &[0xc0, 0x14]),
        ("0.01", &[0xc0, 0x02]),
        ("-1", &[0x3e, 0xfd]),
        ("-123.4", &[0x3d, 0xfc, 0xd0, 0xaf]),
        ("1e-130", &[0x80, 0x02]),
        ("9e125", &[0xff, 0xb4]),
        ("-9e125", &[0x00, 0x4b]),
        ("-1e-130", &[0x7f, 0xfd]),
    ] {
        assert_eq!(encoded(&number(text)), bytes, "{text}");
    }
}

#[test]
fn what_is_no_encoding() {
    let garbage: &[&[u8]] = &[
        &[],
        &[0x80],
        &[0xc1],
        &[0xc1, 0x03],
        // Zero at a power of its own, and a negative one.
        &[0xc1, 0x00],
        &[0x7f, 0xff],
        // A first digit, then a last one, of 00.
        &[0xc1, 0x01, 0x02],
        &[0x80, 0x01, 0x02],
        &[0xc1, 0x03, 0x00],
        // A digit of 100.
        &[0xc1, 0xc8],
        &[0xc1, 0xc9, 0x02],
        &[0xc1, 0xff, 0x02],
        &[0x3e, 0x00, 0xfd],
    ];
    for bytes in garbage {
        let mut input = *bytes;
        assert_eq!(Number::decode_key(&mut input), None, "{bytes:?}");
        assert_eq!(input, *bytes);
    }
    // 39 digits, 40, and more pairs than there may be: 38 that begin and end in a pair's middle are the most.
    let pairs = |first: u8, middle: usize, last: u8| {
        let mut bytes = vec![0xc1, 2 * first + 1];
        bytes.extend(std::iter::repeat_n(2 * 99 + 1, middle));
        bytes.push(2 * last);
        Number::decode_key(&mut &bytes[..])
    };
    assert_eq!(pairs(9, 18, 90), Some(number("9.9999999999999999999999999999999999999")));
    assert_eq!(pairs(10, 18, 90), None);
    assert_eq!(pairs(9, 18, 91), None);
    assert_eq!(pairs(99, 18, 99), None);
    // 2^128 + 1 and 2^128 + 101, which could wrap around to 1 and to 101.
    for end in [[14, 57], [15, 57]] {
        let wraps = [3, 40, 28, 23, 66, 92, 9, 38, 46, 34, 63, 37, 46, 7, 43, 17, 68, 21];
        let mut bytes = vec![0xc1];
        bytes.extend(wraps.iter().chain(&end).map(|pair| 2 * pair + 1));
        *bytes.last_mut().unwrap() -= 1;
        assert_eq!(Number::decode_key(&mut &bytes[..]), None);
    }
    assert_eq!(pairs(1, 300, 10), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn text_agrees_with_the_reference((number, decimal) in any_number()) {
        prop_assert_eq!(number.to_string(), decimal.text());
        prop_assert_eq!(number.to_string().parse::<Number>(), Ok(number));
    }

    /// However a value is written, it is one number, with one hash.
    #[test]
    fn spelling_does_not_matter(
        (negative, digits, exponent) in parts(),
        front in 0..50usize, behind in 0..50usize, point in 0..100usize, plus in any::<bool>(),
    ) {
        prop_assume!(digits != "0");
        let padded = format!("{}{digits}{}", "0".repeat(front), "0".repeat(behind));
        let point = point.min(padded.len());
        let (whole, fraction) = padded.split_at(point);
        let exponent_written = exponent - behind as i32 + fraction.len() as i32;
        let sign = if negative { "-" } else if plus { "+" } else { "" };
        let other = number(&format!("{sign}{whole}.{fraction}E{exponent_written:+}"));
        let plain = number(&format!("{}{digits}e{exponent}", if negative { "-" } else { "" }));
        prop_assert_eq!(other, plain);
        let hasher = RandomState::new();
        prop_assert_eq!(hasher.hash_one(other), hasher.hash_one(plain));
    }

    #[test]
    fn sums_agree_with_the_reference((a, a_decimal) in any_number(), (b, b_decimal) in any_number()) {
        for (outcome, expected) in [
            (a.checked_add(&b), a_decimal.sum(&b_decimal)),
            (a.checked_sub(&b), a_decimal.sum(&b_decimal.negated())),
        ] {
            match outcome {
                Ok(sum) => {
                    prop_assert!(expected.fits(), "{} {} gave {}", a, b, sum);
                    prop_assert_eq!(sum.to_string(), expected.text());
                    prop_assert_eq!(sum, number(&expected.text()));
                }
                Err(error) => {
                    prop_assert!(!expected.fits(), "{} {}: {}", a, b, error);
                    let under = expected.magnitude().is_some_and(|magnitude| magnitude < -130);
                    prop_assert_eq!(error.message(), if under { UNDERFLOW } else { OVERFLOW });
                }
            }
        }
    }

    #[test]
    fn order_agrees_with_the_reference((a, a_decimal) in any_number(), (b, b_decimal) in any_number()) {
        prop_assert_eq!(a.cmp(&b), a_decimal.cmp(&b_decimal));
        prop_assert_eq!(a == b, a_decimal == b_decimal);
        prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a_decimal.cmp(&b_decimal), "{} {}", a, b);
    }

    #[test]
    fn keys_come_back((number, _) in any_number(), behind in any::<Vec<u8>>()) {
        let mut bytes = encoded(&number);
        prop_assert!(bytes.len() <= 21);
        prop_assert_eq!(bytes.len(), number.size().max(2) - usize::from(number.is_negative()));
        bytes.extend(&behind);
        let mut input = &bytes[..];
        prop_assert_eq!(Number::decode_key(&mut input), Some(number));
        prop_assert_eq!(input, &behind[..]);
    }

    /// What decodes is what that number encodes to: there is one encoding of each.
    #[test]
    fn garbage_is_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let mut input = &bytes[..];
        if let Some(number) = Number::decode_key(&mut input) {
            let read = bytes.len() - input.len();
            prop_assert_eq!(encoded(&number), &bytes[..read]);
            prop_assert_eq!(number, number.to_string().parse().unwrap());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+.eE0-9]{0,12}|.{0,8}") {
        if let Ok(number) = text.parse::<Number>() {
            prop_assert_eq!(number.to_string().parse(), Ok(number));
            // Where the standard library reads it too, the values agree.
            prop_assert_eq!(text.parse::<f64>().ok(), Some(number.to_f64()));
        } else if let Ok(float) = text.parse::<f64>() {
            prop_assert!(!float.is_finite() || float == 0.0 || !(1e-130..1e126).contains(&float.abs()));
        }
    }
}

#[test]
fn a_number_in_debug_shows_its_digits() {
    let values = ["0", "-19.90", "1e-130", "12345678901234567890123456789012345678"];
    for value in values.map(number) {
        assert_eq!(format!("{value:?}"), format!("N({value})"));
    }
    assert_eq!(format!("{:?}", number("-19.90")), "N(-19.9)");
}
