package wire

// Bounds of an Identity, together less than [MaxCaller].
const (
	MaxService   = 64
	MaxInstance  = 64
	MaxPrincipal = 256
	MaxBound     = 512
)

// Identity is who an environment is, as the monitor says: to itself in the
// reply to a hello, to a server in the caller of each call.
type Identity struct {
	Service   string // never empty, at most MaxService bytes
	Instance  string // at most MaxInstance bytes
	Principal string // for whom it runs; at most MaxPrincipal bytes, "" for nobody
	Bound     []byte // what its spawner bound to it; at most MaxBound bytes, nil for nothing
}

// Append appends id as a list of fields. Empty values are left out.
func (id *Identity) Append(dst []byte) []byte {
	dst = AppendField(dst, KeyService, id.Service)
	if id.Instance != "" {
		dst = AppendField(dst, KeyInstance, id.Instance)
	}
	if id.Principal != "" {
		dst = AppendField(dst, KeyPrincipal, id.Principal)
	}
	if len(id.Bound) != 0 {
		dst = AppendField(dst, KeyBound, id.Bound)
	}
	return dst
}

// Check tells whether ParseIdentity would accept what Append makes of id.
func (id *Identity) Check() error {
	_, err := ParseIdentity(id.Append(nil))
	return err
}

// ParseIdentity reads an Identity, whose Bound is a view of b. It returns an
// [ErrMalformed] for a key twice, an unknown key, no service, and a value
// beyond its bound or, but for Bound, not UTF-8 without zero bytes.
func ParseIdentity(b []byte) (Identity, error) {
	var id Identity
	l := list{kind: "identity"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyService:
			id.Service, err = l.text(key, val, MaxService)
		case KeyInstance:
			id.Instance, err = l.text(key, val, MaxInstance)
		case KeyPrincipal:
			id.Principal, err = l.text(key, val, MaxPrincipal)
		case KeyBound:
			id.Bound, err = bound(val), l.bytes(key, val, MaxBound)
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	if err == nil && id.Service == "" {
		err = malformed("identity: no service")
	}
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

// bound makes an empty value the same as none.
func bound(val []byte) []byte {
	if len(val) == 0 {
		return nil
	}
	return val
}
