//! The layout of an event, from the event's file `format`.

/// The fields of an event. Their offsets differ between kernels. (Documentation/trace/events.rst)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// The number at the start of this event's records.
    pub(crate) id: u16,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: String,
    offset: usize,
    size: usize,
    /// Whether the field contains the offset of the value.
    elsewhere: bool,
}

impl Format {
    /// Parses the layout in a text, or returns `None`.
    pub(crate) fn parse(text: &str) -> Option<Format> {
        let id = text.lines().find_map(|line| line.strip_prefix("ID: "))?.trim().parse().ok()?;
        let fields = text.lines().filter_map(Field::parse).collect();
        Some(Format { id, fields })
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn bytes<'a>(&self, record: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let Field { offset, size, .. } = *self.field(name)?;
        record.get(offset..offset.checked_add(size)?)
    }

    /// Returns the number in a field of at most eight bytes, in the byte order of this machine.
    pub(crate) fn unsigned(&self, record: &[u8], name: &str) -> Option<u64> {
        let bytes = self.bytes(record, name)?;
        Some(match *bytes {
            [a] => a.into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            _ => u64::from_ne_bytes(bytes.try_into().ok()?),
        })
    }

    /// Returns the signed number in a field of at most eight bytes.
    pub(crate) fn signed(&self, record: &[u8], name: &str) -> Option<i64> {
        let bytes = self.bytes(record, name)?;
        Some(match *bytes {
            [a] => i8::from_ne_bytes([a]).into(),
            [a, b] => i16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => i32::from_ne_bytes([a, b, c, d]).into(),
            _ => i64::from_ne_bytes(bytes.try_into().ok()?),
        })
    }

    /// Returns the text in a field, up to its first NUL.
    pub(crate) fn text<'a>(&self, record: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let mut bytes = self.bytes(record, name)?;
        if self.field(name)?.elsewhere {
            let place = u32::from_ne_bytes(bytes.try_into().ok()?);
            let [offset, length] = [place & 0xffff, place >> 16].map(|part| part as usize);
            bytes = record.get(offset..offset + length)?;
        }
        bytes.split(|&byte| byte == 0).next()
    }

    /// Returns the 64-bit numbers from the start of a field to the end of the record.
    pub(crate) fn words<'a>(
        &self,
        record: &'a [u8],
        name: &str,
    ) -> Option<impl Iterator<Item = u64> + use<'a>> {
        let rest = record.get(self.field(name)?.offset..)?;
        let words = rest.chunks_exact(8).filter_map(|word| word.try_into().ok());
        Some(words.map(u64::from_ne_bytes))
    }
}

impl Field {
    /// Parses a line: `field:char comm[16];`, then `offset:12;` and `size:16;`, separated by tabs.
    fn parse(line: &str) -> Option<Field> {
        let mut parts = line.trim().split(';').map(str::trim);
        let declaration = parts.next()?.strip_prefix("field:")?;
        let number = |part: Option<&str>, key: &str| -> Option<usize> {
            part?.strip_prefix(key)?.parse().ok()
        };
        let offset = number(parts.next(), "offset:")?;
        let size = number(parts.next(), "size:")?;
        let name = declaration.rsplit([' ', '*']).next()?;
        let name = name.split('[').next()?.to_owned();
        Some(Field { name, offset, size, elsewhere: declaration.starts_with("__data_loc") })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The layout on Linux 6.18.
    const EXEC: &str = "name: sched_process_exec\nID: 314\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n\
        \tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;\n\
        \tfield:const struct cred * cred;\toffset:16;\tsize:8;\tsigned:0;\n\
        \tfield:char comm[16];\toffset:24;\tsize:16;\tsigned:0;\n\n\
        print fmt: \"filename=%s pid=%d\", __get_str(filename), REC->pid\n";

    #[test]
    fn a_record() {
        let format = Format::parse(EXEC).unwrap();
        assert_eq!(format.id, 314);
        let mut record = vec![0; 40];
        record[4..8].copy_from_slice(&(-2_i32).to_ne_bytes());
        record[8..12].copy_from_slice(&(0x28_u32 | 9 << 16).to_ne_bytes());
        record[16..24].copy_from_slice(&0xffff_8881_0000_0001_u64.to_ne_bytes());
        record[24..29].copy_from_slice(b"sleep");
        record.extend(b"/bin/ls\0\0");
        assert_eq!(format.signed(&record, "common_pid"), Some(-2));
        assert_eq!(format.unsigned(&record, "common_pid"), Some(0xffff_fffe));
        assert_eq!(format.unsigned(&record, "cred"), Some(0xffff_8881_0000_0001));
        assert_eq!(format.text(&record, "filename"), Some(&b"/bin/ls"[..]));
        assert_eq!(format.text(&record, "comm"), Some(&b"sleep"[..]));
        assert_eq!(format.words(&record, "cred").unwrap().next(), Some(0xffff_8881_0000_0001));
        assert_eq!(format.unsigned(&record, "none"), None);
        assert_eq!(format.unsigned(&record[..20], "cred"), None);
    }

    #[test]
    fn texts_that_are_none() {
        for text in ["", "ID: x\n", "name: y\n", "ID: 70000\n"] {
            assert_eq!(Format::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_record_panics(record: Vec<u8>) {
            let format = Format::parse(EXEC).unwrap();
            for name in ["common_type", "filename", "cred", "comm"] {
                let _ = (format.unsigned(&record, name), format.signed(&record, name));
                let _ = (format.text(&record, name), format.words(&record, name).map(Iterator::count));
            }
        }
    }
}
