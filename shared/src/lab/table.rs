//! A lab's numbers as tables, for spreadsheets and data frames, in one file: first what stands alone, a name and its value a line; then a
//! block for each list, behind an empty line and a line with its name. Written as RFC 4180 says, but for the blocks' different widths.
//!
//! - A list of objects: a line for each, a column for each key; keys of objects in them are joined by a point.
//! - Lists of plain values in one object: a column for each, those of one length side by side.
//! - Lists of lists, and lists of plain values in objects of a list: a matrix, a line for each.
//! - An object with `rows`, `cols` and `values`: a matrix with those labels.
//!
//! A line's first columns, `i`, `j`, …, are its places in the lists around it, from 0.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Names of the columns for places; a document nests no deeper.
const PLACES: [&str; 6] = ["i", "j", "k", "l", "m", "n"];

/// The tables of a document. Nothing is written for an empty list or an empty object.
#[must_use]
pub fn csv(document: &Value) -> String {
    let mut tables = Tables { alone: Table::new("", &["name"]), lists: Vec::new() };
    match document {
        Value::Object(fields) => tables.object("", fields),
        Value::Array(items) => tables.list("", items, &[]),
        plain => tables.alone.put(vec![String::new()], "value", plain),
    }
    if tables.alone.columns.is_empty() {
        tables.alone.columns.push("value".to_owned());
    }
    let mut text = String::new();
    tables.alone.write(&mut text);
    for table in &tables.lists {
        let _ = write!(text, "\r\n{}\r\n", quoted(&table.name));
        table.write(&mut text);
    }
    text
}

struct Tables {
    alone: Table,
    lists: Vec<Table>,
}

struct Table {
    name: String,
    /// Names of the first columns, which say what a line is about.
    heads: Vec<String>,
    columns: Vec<String>,
    lines: Vec<Line>,
}

struct Line {
    heads: Vec<String>,
    /// In the order of the columns; those at the end may be missing.
    cells: Vec<String>,
}

impl Tables {
    /// The table of a name, whose lines have places of such a depth.
    fn named(&mut self, name: &str, depth: usize) -> &mut Table {
        let at = self.lists.iter().position(|table| table.name == name).unwrap_or(self.lists.len());
        if at == self.lists.len() {
            self.lists.push(Table::new(name, &PLACES[..depth.min(PLACES.len())]));
        }
        &mut self.lists[at]
    }

    /// An object outside of lists.
    fn object(&mut self, name: &str, fields: &Map<String, Value>) {
        if self.labelled(name, fields) {
            return;
        }
        for (key, value) in fields {
            let path = joined(name, key);
            match value {
                Value::Null => {}
                Value::Object(fields) => self.object(&path, fields),
                Value::Array(items) if is_plain(items) => {}
                Value::Array(items) => self.list(&path, items, &[]),
                plain => self.alone.put(vec![path], "value", plain),
            }
        }
        self.side_by_side(name, fields);
    }

    /// The lists of plain values in an object: those of one length are columns of one table.
    fn side_by_side(&mut self, name: &str, fields: &Map<String, Value>) {
        let all = fields.iter().filter_map(|(key, value)| Some((key, value.as_array()?)));
        let mut lists: Vec<(&String, &Vec<Value>)> =
            all.filter(|(_, items)| !items.is_empty() && is_plain(items)).collect();
        while let Some(length) = lists.first().map(|(_, items)| items.len()) {
            let (here, rest): (Vec<_>, Vec<_>) = lists.into_iter().partition(|(_, items)| items.len() == length);
            lists = rest;
            let keys: Vec<&str> = here.iter().map(|(key, _)| key.as_str()).collect();
            let mut table = Table::new(&joined(name, &keys.join(" + ")), &PLACES[..1]);
            table.columns = keys.into_iter().map(str::to_owned).collect();
            table.lines = (0..length)
                .map(|at| Line {
                    heads: vec![at.to_string()],
                    cells: here.iter().map(|(_, items)| plain(&items[at])).collect(),
                })
                .collect();
            self.lists.push(table);
        }
    }

    /// A list at places in the lists around it.
    fn list(&mut self, name: &str, items: &[Value], places: &[usize]) {
        if is_plain(items) {
            if !items.is_empty() {
                self.named(name, places.len()).across(places, items);
            }
            return;
        }
        for (at, item) in items.iter().enumerate() {
            let inside = [places, &[at]].concat();
            match item {
                Value::Object(fields) => self.row(name, "", fields, &inside),
                Value::Array(items) => self.list(name, items, &inside),
                plain => self.named(name, inside.len()).put(written(&inside), "value", plain),
            }
        }
    }

    /// An object in a list: its plain values are one line, their columns named behind a prefix.
    fn row(&mut self, name: &str, prefix: &str, fields: &Map<String, Value>, places: &[usize]) {
        for (key, value) in fields {
            let column = joined(prefix, key);
            match value {
                Value::Object(fields) => self.row(name, &column, fields, places),
                Value::Array(items) => self.list(&joined(name, &column), items, places),
                plain => self.named(name, places.len()).put(written(places), &column, plain),
            }
        }
    }

    /// A matrix with labels; false where the object is something else.
    fn labelled(&mut self, name: &str, fields: &Map<String, Value>) -> bool {
        let list = |key: &str| fields.get(key).and_then(Value::as_array);
        let (Some(rows), Some(cols), Some(values)) = (list("rows"), list("cols"), list("values")) else {
            return false;
        };
        let mut table = Table::new(name, &[""]);
        table.columns = cols.iter().map(plain).collect();
        let lines = rows.iter().zip(values.iter().filter_map(Value::as_array));
        table.lines = lines
            .map(|(label, values)| Line { heads: vec![plain(label)], cells: values.iter().map(plain).collect() })
            .collect();
        self.lists.push(table);
        true
    }
}

impl Table {
    fn new(name: &str, heads: &[&str]) -> Self {
        let heads = heads.iter().map(|&head| head.to_owned()).collect();
        Self { name: name.to_owned(), heads, columns: Vec::new(), lines: Vec::new() }
    }

    /// Puts a value into a column of a line: the last one, where that is about the same.
    fn put(&mut self, heads: Vec<String>, column: &str, value: &Value) {
        let at = self.columns.iter().position(|known| known == column).unwrap_or(self.columns.len());
        if at == self.columns.len() {
            self.columns.push(column.to_owned());
        }
        if self.lines.last().is_none_or(|line| line.heads != heads) {
            self.lines.push(Line { heads, cells: Vec::new() });
        }
        if let Some(line) = self.lines.last_mut() {
            line.cells.resize(line.cells.len().max(at + 1), String::new());
            line.cells[at] = plain(value);
        }
    }

    /// A line of a matrix.
    fn across(&mut self, places: &[usize], items: &[Value]) {
        let known = self.columns.len();
        self.columns.extend((known..items.len()).map(|at| at.to_string()));
        self.lines.push(Line { heads: written(places), cells: items.iter().map(plain).collect() });
    }

    fn write(&self, text: &mut String) {
        write_line(text, self.heads.iter().chain(&self.columns));
        let nothing = String::new();
        for line in &self.lines {
            let missing = std::iter::repeat_n(&nothing, self.columns.len().saturating_sub(line.cells.len()));
            write_line(text, line.heads.iter().chain(&line.cells).chain(missing));
        }
    }
}

fn write_line<'a>(text: &mut String, fields: impl Iterator<Item = &'a String>) {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&quoted(field));
    }
    text.push_str("\r\n");
}

/// No lists and no objects.
fn is_plain(items: &[Value]) -> bool {
    !items.iter().any(|item| item.is_array() || item.is_object())
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn written(places: &[usize]) -> Vec<String> {
    places.iter().map(usize::to_string).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
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

    /// The blocks, each with its lines. Where an object's fields have no order, a test gives it one field.
    fn blocks(document: &Value) -> Vec<Vec<String>> {
        let text = csv(document);
        let block = |block: &str| block.lines().map(str::to_owned).collect();
        text.split("\r\n\r\n").map(block).collect()
    }

    #[test]
    fn what_stands_alone_comes_first() {
        let document = json!({"points": [{"bits": 4}], "model": {"id": "hearth-nano", "key": null}, "empty": []});
        assert_eq!(csv(&document), "name,value\r\nmodel.id,hearth-nano\r\n\r\npoints\r\ni,bits\r\n0,4\r\n");
    }

    #[test]
    fn objects_of_a_list_have_a_line_each_and_a_column_for_every_key() {
        let document = json!({"points": [{"spec": {"bits": 4}}, {"spec": {"bits": null}}, {"kept": true}]});
        assert_eq!(blocks(&document)[1], ["points", "i,spec.bits,kept", "0,4,", "1,,", "2,,true"]);
        // Lists in them are tables of their own, which say whose they are.
        let document = json!({"costs": [{"of": [{"tokens": 5}]}, {"of": [{"tokens": 6}, {"tokens": 7}]}]});
        assert_eq!(blocks(&document)[1], ["costs.of", "i,j,tokens", "0,0,5", "1,0,6", "1,1,7"]);
        let document = json!({"heads": [{"losses": [1.5, 2.5]}, {"losses": [3.5]}]});
        assert_eq!(blocks(&document)[1], ["heads.losses", "i,0,1", "0,1.5,2.5", "1,3.5,"]);
    }

    #[test]
    fn lists_of_one_length_stand_side_by_side() {
        let document = json!({"kept": {"a": [4, 5], "b": ["x", "y"], "c": [1.0, 2.0, 3.0]}});
        assert_eq!(
            blocks(&document)[1..],
            [vec!["kept.a + b", "i,a,b", "0,4,x", "1,5,y"], vec!["kept.c", "i,c", "0,1.0", "1,2.0", "2,3.0"]]
        );
    }

    #[test]
    fn a_matrix_has_its_labels() {
        let document = json!({"weights": [[1.0, 0.0], [0.25, 0.75]]});
        assert_eq!(blocks(&document)[1], ["weights", "i,0,1", "0,1.0,0.0", "1,0.25,0.75"]);
        let document = json!({"q": {"rows": ["1 The", "2 sea"], "cols": [0, 1], "values": [[1.0, 0.0], [0.25, 0.75]]}});
        assert_eq!(blocks(&document)[1], ["q", ",0,1", "1 The,1.0,0.0", "2 sea,0.25,0.75"]);
        // One of many rows is nothing that is searched through for each of its cells.
        let side = 400;
        let table = csv(&json!({"all": vec![vec![0.5; side]; side]}));
        assert_eq!(table.lines().count(), side + 4);
    }

    #[test]
    fn what_would_break_a_row_is_quoted() {
        let document = json!({"text": "\"Ja\", sagt\ner"});
        assert_eq!(csv(&document), "name,value\r\ntext,\"\"\"Ja\"\", sagt\ner\"\r\n");
        assert_eq!(csv(&json!({})), "name,value\r\n");
    }
}
