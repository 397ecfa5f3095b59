package wire

import "math"

// Dial asks for a connection to a port of a service; the name of its frame is
// "service:port". The zero value is one for whom the program runs.
//
// The reply is OK in either case in which it may be had. With [FlagSocket] the connection's own
// socket comes with it, connected, and the request lasts as long as the connection: it ends when it is
// canceled, or the wire connection ends. Without, it is to be made by the name inside.
type Dial struct {
	Principal string // in whose name; at most MaxPrincipal bytes, "" for nobody else
	Route     uint64 // of the gateway: one more than the route of a person's request, 0 for none
}

// FlagSocket in the header of a reply to an [OpDial] says that a descriptor comes with its first
// byte (unix(7), SCM_RIGHTS): that of the connection. Programs send none.
const FlagSocket = 1 << 8

// FlagUnanswered in the header of an [OpCancel] says of the connection that it ends because all
// of a request was sent on it and no answer has begun in time. The gateway is believed that.
const FlagUnanswered = 1 << 9

// Append appends d as a list of fields.
func (d *Dial) Append(dst []byte) []byte {
	if d.Principal != "" {
		dst = AppendField(dst, KeyPrincipal, d.Principal)
	}
	if d.Route != 0 {
		dst = AppendUint(dst, KeyRoute, d.Route)
	}
	return dst
}

// ParseDial reads a Dial. It returns an [ErrMalformed] for an unknown key, a value given
// twice, a principal that is none, and a route beyond 2^31.
func ParseDial(b []byte) (Dial, error) {
	var d Dial
	l := list{kind: "dial"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyPrincipal:
			if d.Principal, err = l.text(key, val, MaxPrincipal); err == nil && d.Principal == "" {
				err = malformed("dial: for nobody")
			}
		case KeyRoute:
			if d.Route, err = ParseUint(val); err == nil && (d.Route == 0 || d.Route > math.MaxInt32) {
				err = malformed("dial: route %d", d.Route)
			}
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err != nil {
		return Dial{}, err
	}
	return d, nil
}
