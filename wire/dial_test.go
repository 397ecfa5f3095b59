package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestDial(t *testing.T) {
	for _, d := range []Dial{{}, {Principal: "alice"}, {Route: 1}, {Principal: strings.Repeat("a", MaxPrincipal), Route: 1<<31 - 1}} {
		if got, err := ParseDial(d.Append(nil)); err != nil || got != d {
			t.Errorf("ParseDial = %+v, %v, want %+v", got, err, d)
		}
	}
	principal := fieldsOf(KeyPrincipal, "alice")
	for name, b := range map[string][]byte{
		"for nobody":             fieldsOf(KeyPrincipal, ""),
		"a principal too long":   fieldsOf(KeyPrincipal, strings.Repeat("a", MaxPrincipal+1)),
		"a zero byte":            fieldsOf(KeyPrincipal, "a\x00"),
		"not UTF-8":              fieldsOf(KeyPrincipal, "\xff"),
		"two principals":         append(append([]byte{}, principal...), principal...),
		"no route":               AppendUint(nil, KeyRoute, 0),
		"a route beyond any":     AppendUint(nil, KeyRoute, 1<<31),
		"a route of two numbers": AppendUint(nil, KeyRoute, 1, 1),
		"another list's key":     fieldsOf(KeyService, "a"),
		"cut short":              principal[:7],
	} {
		if got, err := ParseDial(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: ParseDial = %+v, %v, want malformed", name, got, err)
		}
	}
}

func FuzzDial(f *testing.F) {
	f.Add((&Dial{Principal: "alice", Route: 3}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDial(b)
		if err != nil {
			return
		}
		if again, err := ParseDial(d.Append(nil)); err != nil || again != d {
			t.Errorf("%+v became %+v, %v", d, again, err)
		}
	})
}
