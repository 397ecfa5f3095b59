// Package quote says how text that strangers chose is written down.
//
// Whatever a program prints, or somebody asks for, is data in a line of JSON: it neither ends
// the line nor steers the terminal of who reads it.
//
//	string(quote.Append(nil, "a\x1b[2J\n\u202e")) // "a\u001b[2J\n\u202e", in quotes
//
// Trusted: yes. A wrong answer here lets a program write what somebody else is taken to have said.
package quote

import (
	"unicode"
	"unicode/utf8"
)

// Append appends text as a string of JSON (RFC 8259 section 7) in which everything prints: whatever does not
// (controls of both sets, directions, separators of lines) is escaped, and a byte that is not UTF-8 becomes U+FFFD.
func Append[T ~string | ~[]byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	from := 0 // what follows is not appended yet
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(append(dst, text[from:i]...), '\\')
			from = i
			i++
		case ' ' <= c && c <= '~':
			i++
		default:
			r, size := decode(text, i)
			if !prints(r) {
				dst = escape(append(dst, text[from:i]...), r)
				from = i + size
			}
			i += size
		}
	}
	return append(append(dst, text[from:]...), '"')
}

// AppendMost is Append of text which decodes to at most so many bytes, and not less than 3: the rest of a longer
// one is left out, and "…" stands for it.
func AppendMost(dst []byte, text string, most int) []byte {
	const ellipsis = "…"
	if len(text) <= most/utf8.RuneLen(utf8.RuneError) {
		return Append(dst, text)
	}
	n := 0   // bytes of what was looked at, decoded
	cut := 0 // up to here there is room for the ellipsis
	for i := 0; i < len(text); {
		r, size := decode(text, i)
		i += size
		if n += utf8.RuneLen(r); n > most {
			dst = Append(dst, text[:cut])
			return append(append(dst[:len(dst)-1], ellipsis...), '"')
		}
		if n <= most-len(ellipsis) {
			cut = i
		}
	}
	return Append(dst, text)
}

// AppendPrinting appends a document of JSON, in which strings may have what does not print, with that
// escaped. Line feeds, which stand between its parts, stay.
func AppendPrinting(dst, document []byte) []byte {
	from := 0
	for i := 0; i < len(document); {
		if c := document[i]; ' ' <= c && c <= '~' || c == '\n' {
			i++
			continue
		}
		r, size := decode(document, i)
		if !prints(r) {
			dst = escape(append(dst, document[from:i]...), r)
			from = i + size
		}
		i += size
	}
	return append(dst, document[from:]...)
}

// prints tells whether r stands for itself.
func prints(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }

// decode returns the character at i, and how many bytes it has.
func decode[T ~string | ~[]byte](text T, i int) (rune, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return rune(c), 1
	}
	return utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
}

func escape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch {
	case r == '\n':
		return append(dst, `\n`...)
	case r > 0xffff: // a pair of surrogates
		r -= 0x10000
		return escape(escape(dst, 0xd800+(r>>10)), 0xdc00+(r&0x3ff))
	}
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
