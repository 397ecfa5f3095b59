package label

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The keys of a label in JSON.
const (
	keySecrecy   = "secrecy"
	keyIntegrity = "integrity"
)

// MarshalJSON returns [Formula.Clauses] as arrays of strings: [["alice"],["bob","carol"]].
func (f Formula) MarshalJSON() ([]byte, error) { return json.Marshal(f.Clauses()) }

// UnmarshalJSON reads an array of arrays of strings, which need not be in normal
// form. Strings that are not UTF-8, or hold half of a pair of surrogates, are refused:
// they would become the names of others.
func (f *Formula) UnmarshalJSON(data []byte) error {
	if err := checkJSON(data); err != nil {
		return err
	}
	var clauses [][]jsonName
	if err := json.Unmarshal(data, &clauses); err != nil {
		return err
	}
	if clauses == nil {
		return errors.New("null is not a formula: [] is True, [[]] is False")
	}
	raw := make([][]string, len(clauses))
	for i, names := range clauses {
		if names == nil {
			return errors.New("null is not a clause")
		}
		for _, n := range names {
			raw[i] = append(raw[i], string(n))
		}
	}
	g, err := NewFormula(raw...)
	if err != nil {
		return err
	}
	*f = g
	return nil
}

// jsonName is a string of JSON that is one text and no other.
type jsonName string

func (n *jsonName) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '"' {
		return fmt.Errorf("%.20q where a name was expected", data)
	}
	if halfPair(data) {
		return fmt.Errorf("name %.40s holds half of a pair of surrogates", data)
	}
	return json.Unmarshal(data, (*string)(n))
}

// MarshalJSON returns {"secrecy": …, "integrity": …}, the halves as of
// [Formula.MarshalJSON].
func (l Label) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Secrecy   Formula `json:"secrecy"`
		Integrity Formula `json:"integrity"`
	}{l.secrecy, l.integrity})
}

// UnmarshalJSON reads what MarshalJSON writes. Both keys have to be there, each
// once, and no other: what was left out would be public, or vouched for by nobody.
func (l *Label) UnmarshalJSON(data []byte) error {
	if err := checkJSON(data); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%.20q is not a label, which is an object", data)
	}
	halves := make(map[string]Formula)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if key != keySecrecy && key != keyIntegrity {
			return fmt.Errorf("label: unknown key %.40q", key)
		}
		if _, twice := halves[key]; twice {
			return fmt.Errorf("label: %s twice", key)
		}
		var f Formula
		if err := d.Decode(&f); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		halves[key] = f
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	for _, key := range []string{keySecrecy, keyIntegrity} {
		if _, ok := halves[key]; !ok {
			return fmt.Errorf("label: no %s", key)
		}
	}
	*l = New(halves[keySecrecy], halves[keyIntegrity])
	return nil
}

// checkJSON refuses what package json would read as something else.
func checkJSON(data []byte) error {
	if len(data) > MaxText {
		return fmt.Errorf("%w: JSON of %d bytes, at most %d", ErrBound, len(data), MaxText)
	}
	if !utf8.Valid(data) {
		return errors.New("JSON that is not UTF-8")
	}
	if !json.Valid(data) { // asked of nobody but who calls UnmarshalJSON itself
		return errors.New("not JSON")
	}
	return nil
}

// halfPair tells whether a string of JSON, which is well formed, has an escape of a
// surrogate without its other half.
func halfPair(s []byte) bool {
	for {
		at := bytes.IndexByte(s, '\\')
		if at < 0 {
			return false
		}
		first := unit(s[at:])
		switch {
		case first == 0: // \n and the like
			s = s[at+2:]
		case first < 0xd800 || first > 0xdfff:
			s = s[at+6:]
		case first <= 0xdbff && unit(s[at+6:]) >= 0xdc00 && unit(s[at+6:]) <= 0xdfff:
			s = s[at+12:]
		default:
			return true
		}
	}
}

// unit is the \uXXXX that s begins with, or 0.
func unit(s []byte) uint64 {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0
	}
	u, _ := strconv.ParseUint(string(s[2:6]), 16, 16)
	return u
}
