package wire

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestAnswer(t *testing.T) {
	a := Answer{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, TTL: 5 * time.Minute}
	got, err := ParseAnswer(a.Append(nil))
	if err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("ParseAnswer = %+v, %v, want %+v", got, err, a)
	}
	one, ttl := fieldsOf(KeyAddress, "abcd"), AppendUint(nil, KeyTTL, 1)
	many := ttl
	for range MaxAddresses + 1 {
		many = append(many, one...)
	}
	for name, b := range map[string][]byte{
		"nothing":                  nil,
		"no address":               ttl,
		"no time":                  one,
		"two times":                append(append(append([]byte{}, one...), ttl...), ttl...),
		"an address of five bytes": append(fieldsOf(KeyAddress, "abcde"), ttl...),
		"an address of none":       append(fieldsOf(KeyAddress, ""), ttl...),
		"too many addresses":       many,
		"a time beyond any":        append(AppendUint(nil, KeyTTL, maxTTL+1), one...),
		"a time of two numbers":    append(AppendUint(nil, KeyTTL, 1, 1), one...),
		"another list's key":       append(append(fieldsOf(KeyService, "a"), one...), ttl...),
		"cut short":                append(append([]byte{}, one...), ttl[:7]...),
	} {
		if got, err := ParseAnswer(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: ParseAnswer = %+v, %v, want malformed", name, got, err)
		}
	}
}

// What is accepted is within the bounds, and is read the same when written again.
func FuzzParseAnswer(f *testing.F) {
	f.Add((&Answer{Addrs: []netip.Addr{netip.MustParseAddr("1.2.3.4")}, TTL: time.Second}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnswer(b)
		if err != nil {
			return
		}
		if len(a.Addrs) == 0 || len(a.Addrs) > MaxAddresses {
			t.Errorf("%d addresses", len(a.Addrs))
		}
		if again, err := ParseAnswer(a.Append(nil)); err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}
