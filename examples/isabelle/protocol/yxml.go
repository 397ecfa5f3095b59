package protocol

import (
	"errors"
	"strings"
)

const (
	yxmlX    = "\x05"
	yxmlY    = "\x06"
	yxmlMark = yxmlX + yxmlY
	yxmlEnd  = yxmlX + yxmlY + yxmlX
)

var errYXML = errors.New("malformed YXML")

// parseYXML finds out whether text is one element, closed as it was opened: a
// tag is the name and attributes between two X, each after a Y, and an empty
// one closes.
func parseYXML(text string, bounds Bounds) (any, error) {
	bounds = bounds.orDefault()
	depth, chunks := 0, strings.Split(text, yxmlX)
	for i, chunk := range chunks {
		switch {
		case chunk == "": // before, between and after tags
		case chunk == yxmlY:
			if depth--; depth < 0 {
				return nil, errYXML
			}
		case strings.HasPrefix(chunk, yxmlY):
			if depth == 0 && i != 1 { // a second element
				return nil, errYXML
			}
			if depth++; depth > bounds.Depth {
				return nil, errYXML
			}
			parts := strings.Split(chunk[1:], yxmlY)
			if parts[0] == "" {
				return nil, errYXML
			}
			for _, attribute := range parts[1:] {
				if eq := strings.IndexByte(attribute, '='); eq <= 0 {
					return nil, errYXML
				}
			}
		default:
			if depth == 0 { // text outside of the element
				return nil, errYXML
			}
		}
	}
	if depth != 0 || !strings.HasSuffix(text, yxmlEnd) {
		return nil, errYXML
	}
	return YXML(text), nil
}
