//! One row of a text file as its reader cut it: where it stood, and its fields.
//!
//! In: what a reader adds.  Out: fields as bytes, for `convert`.
//! Never here: cutting (`csv`, `json`), types (`convert`).
//! Start at [`Record`].

/// One record; reused from call to call.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// 1-based line on which it begins.
    pub(crate) line: u64,
    /// Byte offset of its first byte in the decompressed file.
    pub(crate) offset: u64,
    /// What is wrong with its shape.
    pub(crate) fault: Option<Fault>,
    /// What the parser said, where there is more to say than `fault` does.
    pub(crate) detail: String,
    pub(super) text: Vec<u8>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    end: usize,
    quoted: bool,
}

/// What is wrong with the shape of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `"a"b`
    TextAfterQuote,
    /// The file ends inside a quoted field.
    UnclosedQuote,
    /// The line is not one JSON object.
    NotAnObject,
    /// The object has a key that is no column.
    UnknownKey,
}

impl Record {
    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The bytes of a field without its quotes, and whether it had any: an empty field without quotes is null.
    pub(crate) fn field(&self, number: usize) -> (&[u8], bool) {
        let start = if number == 0 { 0 } else { self.fields[number - 1].end };
        let field = self.fields[number];
        (&self.text[start..field.end], field.quoted)
    }

    pub(super) fn clear(&mut self) {
        self.fault = None;
        self.detail.clear();
        self.text.clear();
        self.fields.clear();
    }

    /// Ends the field whose bytes have been added to `text`.
    pub(super) fn close_field(&mut self, quoted: bool) {
        self.fields.push(Field { end: self.text.len(), quoted });
    }
}
