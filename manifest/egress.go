package manifest

import (
	"net/netip"
	"strings"

	"cofferdam/address"

	"go.yaml.in/yaml/v4"
)

// maxEgress bounds the endpoints outside that one service may reach: each is a
// listener inside its instances.
const maxEgress = 32

// Egress is the door to the Internet.
type Egress struct {
	Pos      Pos
	Resolver string // address:port that names are asked of; "" for the host's own
}

const (
	anEgress   shape = "a mapping: the door to the Internet"
	aResolver  shape = "an IP address and a port, such as 192.0.2.53:53"
	anEndpoint shape = "host:port: a name in small letters or an IP address"
)

func egressKeys() table[Egress] {
	return table[Egress]{keys: []key[Egress]{
		{"resolver", aResolver, false, "the host's, from /etc/resolv.conf", "Who is asked for the addresses of names, over TCP.", readResolver},
	}, refused: []refusal{
		{"allow", "what may be reached is granted to one service, not to all", "write uses: [{egress: host:port}] at the service"},
	}}
}

func readResolver(r *reader, v value, e *Egress) {
	text, ok := r.text(v, aResolver)
	if !ok {
		return
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 || at.Addr().Zone() != "" || at.Addr().Is4In6() || at.String() != text {
		r.refuse(v, "", "%.64q is not %s", text, aResolver)
		return
	}
	e.Resolver = text
}

func readUseEgress(r *reader, v value, u *Use) {
	text, ok := r.text(v, anEndpoint)
	if !ok {
		return
	}
	if strings.Contains(text, "*") {
		r.refuse(v, "write each of the names", "%.64q: a pattern would grant names that are yet to be registered", text)
		return
	}
	if _, err := address.ParseEndpoint(text); err != nil {
		r.refuse(v, "", "%.64q is not %s: %v", text, anEndpoint, err)
		return
	}
	u.Egress = text
}

// checkEgress asks what concerns a way out as a whole.
func (r *reader) checkEgress(v value, u *Use) {
	if u.Egress == "" {
		if u.Private {
			r.refuse(v, "", "private goes with egress only")
		}
		if u.Request.given || u.Answer.given {
			r.refuse(v, "write them where it is provided", "request and answer go with egress only")
		}
		return
	}
	e, err := address.ParseEndpoint(u.Egress)
	if err != nil || e.Name != "" {
		return
	}
	switch class := address.ClassOf(e.Addr); {
	case class == address.Reserved:
		r.refuse(v, "", "%s is no machine's address", e.Addr)
	case class != address.Public && !u.Private:
		r.refuse(v, "if that is meant, write private: true", "%s is a %s address, not one of the Internet", e.Addr, class)
	}
}

func (e *Egress) node() *yaml.Node {
	if e == nil {
		return nil
	}
	var o object
	o.add("resolver", someText(e.Resolver))
	return o.done()
}

// fixEgress is the use that lets s reach host:port.
func (a *App) fixEgress(s *Service, to string) string {
	e, err := address.ParseEndpoint(to)
	if err != nil {
		return ""
	}
	use := "egress: " + e.String()
	if strings.HasPrefix(use, "egress: [") {
		use = "egress: '" + e.String() + "'"
	}
	if e.Name == "" {
		switch address.ClassOf(e.Addr) {
		case address.Reserved:
			return ""
		case address.Public:
		default:
			use += ", private: true"
		}
	}
	for _, u := range s.Uses {
		if u.Egress == e.String() {
			return "" // granted
		}
	}
	return a.fixUse(s, use)
}

// PrivateFor is what to write in place of a use of the endpoint to so that it may
// lead to an address that is not of the Internet; "" if from has none.
func (a *App) PrivateFor(from, to string) string {
	s := a.Service(from)
	if s == nil {
		return ""
	}
	for _, u := range s.Uses {
		if u.Egress == to && !u.Private {
			return a.fix(u.Pos, "services."+s.Name+".uses", "- {egress: '"+to+"', private: true}")
		}
	}
	return ""
}
