package wire

import (
	"encoding/binary"
	"math"
)

// MaxTurns is how many one answer tells.
const MaxTurns = 256

// Turn is a request that waits for others to end, and where it stands.
type Turn struct {
	Name      string // what it is for: service.method, template or service:port; at most MaxName bytes
	Principal string // for whom; "" for nobody
	Place, Of int    // the first is 1; of those that the asker may know of
}

// AppendTurns appends a list of them: the fields of each end with its place.
func AppendTurns(dst []byte, all []Turn) []byte {
	for _, t := range all {
		dst = AppendField(dst, KeyName, t.Name)
		if t.Principal != "" {
			dst = AppendField(dst, KeyPrincipal, t.Principal)
		}
		dst = AppendUint(dst, KeyPlace, uint64(t.Place), uint64(t.Of))
	}
	return dst
}

// ParseTurns reads what AppendTurns has written. It returns an [ErrMalformed] for more than
// MaxTurns, a key out of place, and values beyond their bounds.
func ParseTurns(b []byte) ([]Turn, error) {
	var all []Turn
	var t Turn
	l := list{kind: "turns"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyName:
			if t.Name, err = l.text(key, val, MaxName); err == nil && t.Name == "" {
				err = malformed("turns: a name of nothing")
			}
		case KeyPrincipal:
			t.Principal, err = l.text(key, val, MaxPrincipal)
		case KeyPlace:
			if t.Place, t.Of, err = parsePlace(val); err == nil && !l.seen[KeyName] || len(all) == MaxTurns {
				err = malformed("turns: a place of nothing, or more than %d", MaxTurns)
			}
			if err == nil {
				all = append(all, t)
			}
			t, l.seen = Turn{}, [keys]bool{}
			return err
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err == nil && t != (Turn{}) {
		err = malformed("turns: the last has no place")
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

func parsePlace(val []byte) (place, of int, err error) {
	if len(val) != 16 {
		return 0, 0, malformed("turns: a place of %d bytes", len(val))
	}
	n, m := binary.LittleEndian.Uint64(val), binary.LittleEndian.Uint64(val[8:])
	if n < 1 || n > m || m > math.MaxInt32 {
		return 0, 0, malformed("turns: place %d of %d", n, m)
	}
	return int(n), int(m), nil
}
