package wire

import "path"

// MaxClient is the length of the longest name of a client.
const MaxClient = 256

// Mount asks for a directory of the host to be shown in an instance, or to be
// taken away there again; an unmount has the fields of its mount.
type Mount struct {
	Dir       string // on the host: absolute and clean, at most MaxPath bytes, no zero bytes
	Into      string // the service that is to see it; "" for whoever asks
	Principal string // whose instance of Into; at most MaxPrincipal bytes
	Client    string // on whose behalf, for who asks for many; at most MaxClient bytes, UTF-8
}

// Append appends m as a list of fields. Empty values are left out.
func (m *Mount) Append(dst []byte) []byte {
	dst = AppendField(dst, KeyDir, m.Dir)
	if m.Into != "" {
		dst = AppendField(dst, KeyService, m.Into)
	}
	if m.Principal != "" {
		dst = AppendField(dst, KeyPrincipal, m.Principal)
	}
	if m.Client != "" {
		dst = AppendField(dst, KeyClient, m.Client)
	}
	return dst
}

// ParseMount reads a Mount. It returns an [ErrMalformed] for a key twice, an
// unknown key, no directory, and whatever breaks the rules written at the fields
// of Mount.
func ParseMount(b []byte) (Mount, error) {
	var m Mount
	l := list{kind: "mount"}
	err := ParseFields(b, func(key uint8, val []byte) (err error) {
		switch key {
		case KeyDir:
			m.Dir, err = l.absolute(key, val)
		case KeyService:
			if m.Into = string(val); !ValidWord(val) || len(val) > MaxService {
				err = malformed("mount: %.64q is no service", val)
			}
		case KeyPrincipal:
			m.Principal, err = l.text(key, val, MaxPrincipal)
		case KeyClient:
			m.Client, err = l.text(key, val, MaxClient)
		default:
			return l.unknown(key)
		}
		if err != nil {
			return err
		}
		return l.once(key)
	})
	switch {
	case err != nil:
	case m.Dir == "":
		err = malformed("mount: no directory")
	case m.Principal != "" && m.Into == "":
		err = malformed("mount: a principal without a service")
	}
	if err != nil {
		return Mount{}, err
	}
	return m, nil
}

// absolute reads a path that the kernel will see, absolute and clean.
func (l *list) absolute(key uint8, val []byte) (string, error) {
	if err := l.bytes(key, val, MaxPath); err != nil {
		return "", err
	}
	name, err := l.path(key, val)
	if err != nil {
		return "", err
	}
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
		return "", malformed("%s: path %q is not absolute and clean", l.kind, name)
	}
	return name, nil
}
