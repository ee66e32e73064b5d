//! Cuts a byte stream into rows, chunk by chunk, so that a file of any size needs the memory of its longest row only.
//! It knows three layouts (a line each, a JSON array, paragraphs of plain text) and nothing of what a row means.

/// How a file's rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// JSONL: a row is a line, numbered from 1; blank lines count but are no rows.
    Lines,
    /// One JSON array: a row is an element, numbered from 1.
    Array,
    /// Plain text: a row is a paragraph (lines up to a blank one), numbered by its first line.
    Paragraphs,
}

/// One row as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// Feed chunks with [`Rows::push`], end with [`Rows::finish`].
#[derive(Debug, Default)]
pub struct Rows {
    layout: Option<Layout>,
    /// Bytes of the row under way.
    row: Vec<u8>,
    /// Lines (or elements) begun so far.
    count: u64,
    /// Line on which the paragraph under way began.
    started: u64,
    /// Bytes of the line under way in a paragraph.
    line_len: usize,
    array: ArrayState,
}

#[derive(Debug, Default)]
struct ArrayState {
    depth: u32,
    in_string: bool,
    escaped: bool,
    opened: bool,
    closed: bool,
    /// Something other than white space after the array's end, or no end at all.
    broken: bool,
}

impl Rows {
    /// The layout, once a byte that isn't white space has been seen.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// For a JSON array: whether it ended where it should. True for the other layouts.
    pub fn complete(&self) -> bool {
        self.layout != Some(Layout::Array) || (self.array.closed && !self.array.broken)
    }

    /// Hands every row that the chunk completes to `each`.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(RawRow)) {
        for byte in chunk {
            self.byte(*byte, each);
        }
    }

    /// Hands over the last row, if the file didn't end in a line feed.
    pub fn finish(&mut self, each: &mut dyn FnMut(RawRow)) {
        match self.layout {
            Some(Layout::Lines) => self.end_line(each),
            Some(Layout::Array) => self.end_element(each),
            Some(Layout::Paragraphs) => self.end_paragraph(each),
            None => {}
        }
    }

    fn byte(&mut self, byte: u8, each: &mut dyn FnMut(RawRow)) {
        match self.layout {
            None => self.first(byte),
            Some(Layout::Lines) => {
                if byte == b'\n' {
                    self.end_line(each);
                } else {
                    self.row.push(byte);
                }
            }
            Some(Layout::Array) => self.array_byte(byte, each),
            Some(Layout::Paragraphs) => self.paragraph_byte(byte, each),
        }
    }

    /// Decides the layout by the first byte that isn't white space (or a byte order mark).
    fn first(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.count += 1;
                self.row.clear();
            }
            b' ' | b'\t' | b'\r' | 0xef | 0xbb | 0xbf if self.row.len() < 3 || byte.is_ascii() => {
                // A byte order mark is three bytes at the very start; Chinese text may begin with the same byte.
                self.row.push(byte);
                if self.row.starts_with(&[0xef, 0xbb, 0xbf]) {
                    self.row.clear();
                }
            }
            b'[' => {
                self.layout = Some(Layout::Array);
                self.row.clear();
                self.count = 0;
                self.array.opened = true;
            }
            b'{' => {
                self.layout = Some(Layout::Lines);
                self.row.push(byte);
            }
            _ => {
                self.layout = Some(Layout::Paragraphs);
                self.started = self.count + 1;
                self.row.push(byte);
                self.line_len = self.row.len();
            }
        }
    }

    fn end_line(&mut self, each: &mut dyn FnMut(RawRow)) {
        self.count += 1;
        let bytes = std::mem::take(&mut self.row);
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            each(RawRow { number: self.count, bytes });
        }
    }

    fn end_element(&mut self, each: &mut dyn FnMut(RawRow)) {
        let bytes = std::mem::take(&mut self.row);
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            self.count += 1;
            each(RawRow { number: self.count, bytes });
        }
    }

    fn array_byte(&mut self, byte: u8, each: &mut dyn FnMut(RawRow)) {
        let state = &mut self.array;
        if state.closed {
            state.broken |= !byte.is_ascii_whitespace();
            return;
        }
        if state.in_string {
            match byte {
                _ if state.escaped => state.escaped = false,
                b'\\' => state.escaped = true,
                b'"' => state.in_string = false,
                _ => {}
            }
            self.row.push(byte);
            return;
        }
        match byte {
            b',' if state.depth == 0 => return self.end_element(each),
            b']' if state.depth == 0 => {
                state.closed = true;
                return self.end_element(each);
            }
            b'"' => state.in_string = true,
            b'{' | b'[' => state.depth += 1,
            b'}' | b']' => state.depth = state.depth.saturating_sub(1),
            _ => {}
        }
        self.row.push(byte);
    }

    fn paragraph_byte(&mut self, byte: u8, each: &mut dyn FnMut(RawRow)) {
        if byte != b'\n' {
            if self.row.is_empty() {
                self.started = self.count + 1;
            }
            self.row.push(byte);
            self.line_len += 1;
            return;
        }
        self.count += 1;
        let line_start = self.row.len() - self.line_len;
        let blank = self.row[line_start..].iter().all(u8::is_ascii_whitespace);
        if blank {
            self.row.truncate(line_start);
            self.end_paragraph(each);
        } else {
            self.row.push(byte);
        }
        self.line_len = 0;
    }

    fn end_paragraph(&mut self, each: &mut dyn FnMut(RawRow)) {
        let mut bytes = std::mem::take(&mut self.row);
        while bytes.last().is_some_and(u8::is_ascii_whitespace) {
            bytes.pop();
        }
        self.line_len = 0;
        if !bytes.is_empty() {
            each(RawRow { number: self.started, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &[u8], chunk: usize) -> Vec<(u64, String)> {
        let mut rows = Rows::default();
        let mut out = Vec::new();
        let mut each = |row: RawRow| out.push((row.number, String::from_utf8_lossy(&row.bytes).into_owned()));
        for part in text.chunks(chunk.max(1)) {
            rows.push(part, &mut each);
        }
        rows.finish(&mut each);
        out
    }

    fn expect(text: &str, wanted: &[(u64, &str)]) {
        let wanted: Vec<_> = wanted.iter().map(|(n, s)| (*n, (*s).to_owned())).collect();
        for chunk in [1, 2, 3, 7, 1000] {
            assert_eq!(rows(text.as_bytes(), chunk), wanted, "chunks of {chunk}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        expect("\n{\"a\":1}\n\n{\"b\":2}", &[(2, "{\"a\":1}"), (4, "{\"b\":2}")]);
    }

    #[test]
    fn an_array_is_cut_at_its_own_commas() {
        expect("\u{feff}[ {\"a\": \"],\\\"\"}, [1,2],3 ]\n", &[(1, " {\"a\": \"],\\\"\"}"), (2, " [1,2]"), (3, "3 ")]);
    }

    #[test]
    fn paragraphs_end_at_blank_lines() {
        expect("\n  one\ntwo\n\n \nthree\n", &[(2, "  one\ntwo"), (6, "three")]);
    }

    #[test]
    fn chinese_text_may_begin_with_the_byte_of_a_mark() {
        expect("！你好", &[(1, "！你好")]);
    }

    #[test]
    fn an_array_without_an_end_is_known() {
        let mut rows = Rows::default();
        rows.push(b"[{},", &mut |_| {});
        rows.finish(&mut |_| {});
        assert!(!rows.complete());
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..200), chunk in 1usize..50) {
            prop_assert_eq!(rows(&bytes, 1_000), rows(&bytes, chunk));
        }

        #[test]
        fn every_json_line_comes_back(texts in prop::collection::vec(".*", 0..8)) {
            let lines: Vec<String> = texts.iter().map(|text| serde_json::json!({"t": text}).to_string()).collect();
            let array = format!("[{}]", lines.join(",\n"));
            let got: Vec<String> = rows(lines.join("\n").as_bytes(), 5).into_iter().map(|row| row.1).collect();
            prop_assert_eq!(&got, &lines);
            let got: Vec<String> = rows(array.as_bytes(), 5).into_iter().map(|row| row.1.trim().to_owned()).collect();
            prop_assert_eq!(&got, &lines);
        }
    }
}
