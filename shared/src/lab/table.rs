//! A lab's numbers as one table, for spreadsheets and data frames: a row for every value of its JSON document, in long form.
//! `name` is the path of keys, `i`, `j`, … are the places in the lists on the way, from 0: `{"points": [{"bits": 4}]}` is
//! `points.bits,0,4`. Written as RFC 4180 says.

use std::fmt::Write as _;

use serde_json::Value;

/// Names of the columns for places; a document nests no deeper.
const PLACES: [&str; 6] = ["i", "j", "k", "l", "m", "n"];

/// The table of a document. Nothing is written for null, an empty list or an empty object.
#[must_use]
pub fn csv(document: &Value) -> String {
    let mut rows = Vec::new();
    collect(document, &mut String::new(), &mut Vec::new(), &mut rows);
    let depth = rows.iter().map(|(_, places, _)| places.len()).max().unwrap_or_default().min(PLACES.len());
    let mut table = String::from("name");
    for place in &PLACES[..depth] {
        let _ = write!(table, ",{place}");
    }
    table.push_str(",value\r\n");
    for (name, places, value) in rows {
        table.push_str(&quoted(&name));
        for at in 0..depth {
            table.push(',');
            if let Some(place) = places.get(at) {
                let _ = write!(table, "{place}");
            }
        }
        let _ = write!(table, ",{}\r\n", quoted(&value));
    }
    table
}

type Row = (String, Vec<usize>, String);

fn collect(value: &Value, name: &mut String, places: &mut Vec<usize>, rows: &mut Vec<Row>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                let before = name.len();
                if before > 0 {
                    name.push('.');
                }
                name.push_str(key);
                collect(value, name, places, rows);
                name.truncate(before);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                places.push(at);
                collect(item, name, places, rows);
                places.pop();
            }
        }
        Value::String(text) => rows.push((name.clone(), places.clone(), text.clone())),
        plain => rows.push((name.clone(), places.clone(), plain.to_string())),
    }
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_has_its_row() {
        let document = json!({
            "model": "hearth-nano",
            "weights": [[1.0, 0.0], [0.25, 0.75]],
            "points": [{"spec": {"bits": 4}, "kept": true}],
            "none": null,
            "empty": [],
        });
        let expected = "name,i,j,value\r\n\
            model,,,hearth-nano\r\n\
            weights,0,0,1.0\r\nweights,0,1,0.0\r\nweights,1,0,0.25\r\nweights,1,1,0.75\r\n\
            points.spec.bits,0,,4\r\npoints.kept,0,,true\r\n";
        let mut lines: Vec<&str> = expected.split_inclusive("\r\n").collect();
        let table = csv(&document);
        let mut found: Vec<&str> = table.split_inclusive("\r\n").collect();
        // An object's fields have no order.
        lines.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, lines);
        assert!(table.starts_with("name,i,j,value\r\n"));
    }

    #[test]
    fn what_would_break_a_row_is_quoted() {
        let document = json!({"text": "\"Ja\", sagt\ner"});
        assert_eq!(csv(&document), "name,value\r\ntext,\"\"\"Ja\"\", sagt\ner\"\r\n");
        assert_eq!(csv(&json!({})), "name,value\r\n");
    }
}
