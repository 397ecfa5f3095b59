package wire

import (
	"net/netip"
	"time"
)

// MaxAddresses bounds an Answer.
const MaxAddresses = 16

// maxTTL is the longest that DNS can say, RFC 2181, 8.
const maxTTL = 1<<31 - 1

// Answer is what the egress door found out about a name.
type Answer struct {
	Addrs []netip.Addr  // in the order to try, at least one, no zones
	TTL   time.Duration // whole seconds
}

// Append appends a as a list of fields.
func (a *Answer) Append(dst []byte) []byte {
	for _, addr := range a.Addrs {
		dst = AppendField(dst, KeyAddress, addr.AsSlice())
	}
	return AppendUint(dst, KeyTTL, uint64(a.TTL/time.Second))
}

// ParseAnswer reads an Answer. It returns an [ErrMalformed] for an unknown key,
// no TTL or two, no address or more than [MaxAddresses], and an address of a
// length that is none.
func ParseAnswer(b []byte) (Answer, error) {
	var a Answer
	l := list{kind: "answer"}
	err := ParseFields(b, func(key uint8, val []byte) error {
		switch key {
		case KeyAddress:
			addr, ok := netip.AddrFromSlice(val)
			if !ok {
				return malformed("answer: address of %d bytes", len(val))
			}
			if len(a.Addrs) == MaxAddresses {
				return malformed("answer: more than %d addresses", MaxAddresses)
			}
			a.Addrs = append(a.Addrs, addr)
			return nil
		case KeyTTL:
			seconds, err := ParseUint(val)
			if err != nil {
				return err
			}
			if seconds > maxTTL {
				return malformed("answer: holds for %d s", seconds)
			}
			a.TTL = time.Duration(seconds) * time.Second
			return l.once(key)
		}
		return l.unknown(key)
	})
	if err == nil && (len(a.Addrs) == 0 || !l.seen[KeyTTL]) {
		err = malformed("answer: no address, or no time that it holds")
	}
	if err != nil {
		return Answer{}, err
	}
	return a, nil
}
