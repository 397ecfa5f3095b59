package wire

// End is whose instance of a service is to end.
type End struct {
	Service   string
	Principal string // at most MaxPrincipal bytes
}

// Append appends e as a list of fields.
func (e *End) Append(dst []byte) []byte {
	dst = AppendField(dst, KeyService, e.Service)
	return AppendField(dst, KeyPrincipal, e.Principal)
}

// ParseEnd reads an End. It returns an [ErrMalformed] for a key twice, an unknown key, one
// that is missing, and whatever is no service or no principal.
func ParseEnd(b []byte) (End, error) {
	var e End
	l := list{kind: "end"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyService:
			if e.Service = string(val); !ValidWord(val) || len(val) > MaxService {
				err = malformed("end: %.64q is no service", val)
			}
		case KeyPrincipal:
			e.Principal, err = l.text(key, val, MaxPrincipal)
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err == nil && (e.Service == "" || e.Principal == "") {
		err = malformed("end: it takes a service and a principal")
	}
	if err != nil {
		return End{}, err
	}
	return e, nil
}
