//! What is personal data, what only looks like it, and what holds for any text.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// What is found, each with its text.
fn found(text: &str) -> Vec<(&'static str, &str)> {
    find(text).into_iter().map(|one| (one.kind.id(), &text[one.start..one.end])).collect()
}

#[test]
fn addresses_are_found_in_sentences() {
    assert_eq!(
        found("Write to jane.doe+work@mail.example.co.uk, or 邮箱：li@公司.cn li_ming@example.cn。"),
        [("email", "jane.doe+work@mail.example.co.uk"), ("email", "li_ming@example.cn")]
    );
    assert_eq!(found("From 93.184.216.34. Or 8.8.4.14:53?").len(), 2);
}

#[test]
fn what_only_looks_like_an_address_is_none() {
    for text in [
        "@property def f(self)",
        "a@b",
        "git@github.com:tracel-ai/burn.git",
        "icon@2x.png",
        "npm i left-pad@1.3.0",
        "x..y@example.com",
        "127.0.0.1 0.0.0.0 10.1.2.3 192.168.17.4 172.20.0.99 255.255.255.255",
        "version 10.15.7.22, v12.10.3.1, 1.2.3.4, 10.20.30.40.50, 256.100.100.100, 93.184.216.034",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn telephones_of_three_kinds_are_found() {
    for (text, number) in [
        ("Call +44 20 7946 0958 now", "+44 20 7946 0958"),
        ("call +1 (212) 555-0142.", "+1 (212) 555-0142"),
        ("(212) 555-0142", "(212) 555-0142"),
        ("on 1-212-555-0142,", "1-212-555-0142"),
        ("212.555.0142", "212.555.0142"),
        ("手机13912345678，", "13912345678"),
        ("139-1234-5678", "139-1234-5678"),
        ("+86 139 1234 5678", "+86 139 1234 5678"),
        ("0086 13912345678", "0086 13912345678"),
    ] {
        assert_eq!(found(text), [("phone", number)], "{text}");
    }
    for text in [
        "213912345678",
        "0.13912345678",
        "1+2345678901234567",
        "100-200-3000",
        "ISBN 978-3-16-148410-0",
        "12912345678",
        "x +12345",
        "2024-11-23 10:20",
        "212 555 0142",
        "a13912345678",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn an_identity_number_has_its_check_digit_and_a_date() {
    assert_eq!(found("身份证11010519491231002X。"), [("china_resident_id", "11010519491231002X")]);
    assert_eq!(found("440524188001010014"), [], "born in 1880");
    assert_eq!(found("110105194912310021"), []);
    assert_eq!(found("11010519491231002XY"), []);
    assert_eq!(found("991105194912310021"), [], "no such province");
}

#[test]
fn cards_and_accounts_are_checked() {
    assert_eq!(found("card 4111 1111 1111 1111,"), [("payment_card", "4111 1111 1111 1111")]);
    assert_eq!(found("3782-822463-10005"), [("payment_card", "3782-822463-10005")]);
    assert_eq!(found("5555555555554444"), [("payment_card", "5555555555554444")]);
    assert_eq!(found("GB82 WEST 1234 5698 7654 32."), [("iban", "GB82 WEST 1234 5698 7654 32")]);
    assert_eq!(found("IBAN:DE89370400440532013000"), [("iban", "DE89370400440532013000")]);
    for text in ["4111 1111 1111 1112", "41 11 11 11 11 11 11 11", "GB83 WEST 1234 5698 7654 32", "1111111111111117"] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn a_key_has_its_makers_prefix_and_length() {
    let key = format!("AKIA{}", "ABCD1234".repeat(2));
    assert_eq!(found(&format!("key={key};")), [("api_key", key.as_str())]);
    let key = format!("sk-proj-{}", "a1B2c3D4".repeat(5));
    assert_eq!(found(&key), [("api_key", key.as_str())]);
    assert_eq!(found("sk-learn ghp_short task-1234567890abcdefghij1234567890abcdefghij"), []);
}

#[test]
fn a_mask_says_what_stood_there() {
    let text = "Li <li@example.cn>, 139 1234 5678, from 93.184.216.34";
    assert_eq!(masked(text), ("Li <[email]>, [phone], from [ip_address]".to_owned(), 3));
    assert_eq!(masked("nothing here, 2024-11-23"), ("nothing here, 2024-11-23".to_owned(), 0));
    assert_eq!(counts(&find(text)).len(), 3);
    assert_eq!(found("13912345678@example.cn"), [("email", "13912345678@example.cn")]);
}

#[test]
fn every_kind_has_its_own_id_and_mask() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.id());
        assert_eq!(kind.mask(), format!("[{}]", kind.id()));
    }
}

/// Texts made of what the scanners look for, so that they meet at every edge.
fn mixtures() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "\\PC{0,6}",
        "[0-9]{1,20}",
        "[0-9 .-]{1,30}",
        "[a-z.]{0,4}@[a-z.]{0,6}",
        "[A-Z]{2}[0-9A-Z ]{2,30}",
        Just("13912345678".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("11010519491231002X".to_owned()),
        Just("li@example.cn".to_owned()),
        Just("93.184.216.34".to_owned()),
        Just("+86 139 1234 5678".to_owned()),
        Just("身份".to_owned()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// What follows a number is not always a part of it.
#[test]
fn digits_behind_a_number_do_not_hide_it() {
    for (text, kinds) in [
        ("13912345678 12", vec![Kind::Phone]),
        ("4111111111111111 12", vec![Kind::PaymentCard]),
        ("4111 1111 1111 1111 123", vec![Kind::PaymentCard]),
        ("+1 415 555 2671 24 hours", vec![Kind::Phone]),
        ("13912345678 13812345678 13712345678", vec![Kind::Phone; 3]),
    ] {
        let found: Vec<Kind> = find(text).into_iter().map(|one| one.kind).collect();
        assert_eq!(found, kinds, "{text}");
    }
}

proptest! {
    #[test]
    fn places_are_whole_characters_in_order(text in mixtures()) {
        let mut done = 0;
        for one in find(&text) {
            prop_assert!(one.start >= done && one.end > one.start);
            prop_assert!(text.get(one.start..one.end).is_some_and(str::is_ascii));
            done = one.end;
        }
    }

    #[test]
    fn masking_twice_is_masking_once(text in mixtures()) {
        let (once, _) = masked(&text);
        prop_assert!(find(&once).is_empty());
        prop_assert_eq!(masked(&once), (once, 0));
    }
}
