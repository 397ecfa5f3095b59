package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"cofferdam/address"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// egressName is the service that the door to the Internet is, and the name of the
// proxy inside.
const egressName = "egress"

// EgressPort is where the egress door takes the monitor's connections, inside its
// own environment; proxyPort is where programs find a proxy, inside theirs.
const (
	EgressPort = 8080
	proxyPort  = 3128
)

// maxResolvers is how many of the host's nameservers are asked: as many as
// resolv.conf(5) has.
const maxResolvers = 3

// NeedsEgress tells whether anything in the application may reach a machine
// outside.
func NeedsEgress(app *manifest.App) bool {
	for _, g := range app.Grants() {
		if g.Kind == "egress" {
			return true
		}
	}
	return app.Traces != nil && app.Traces.To.Name != ""
}

// Resolvers are who is asked for the addresses of names: the manifest's, or the
// host's. It is an error if there is none and a name is granted.
func Resolvers(app *manifest.App) ([]netip.AddrPort, error) {
	if app.Egress != nil && app.Egress.Resolver != "" {
		at, err := netip.ParseAddrPort(app.Egress.Resolver)
		return []netip.AddrPort{at}, err
	}
	var found []netip.AddrPort
	f, err := os.Open("/etc/resolv.conf")
	if err == nil {
		defer f.Close()
		found = nameservers(io.LimitReader(f, 64<<10))
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, g := range app.Grants() {
		if _, err := netip.ParseAddr(g.To); g.Kind == "egress" && err != nil {
			return nil, fmt.Errorf("%s: nobody to ask for the address of %q: /etc/resolv.conf names no server; write egress: {resolver: ADDRESS:53}", g.Rule, g.To)
		}
	}
	return nil, nil
}

// nameservers reads resolv.conf(5). Servers on a link that an address alone does
// not name are left out.
func nameservers(r io.Reader) []netip.AddrPort {
	var found []netip.AddrPort
	for lines := bufio.NewScanner(r); lines.Scan() && len(found) < maxResolvers; {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(words[1])
		if err == nil && addr.Zone() == "" && address.ClassOf(addr) != address.Reserved {
			found = append(found, netip.AddrPortFrom(addr.Unmap(), 53))
		}
	}
	return found
}

// egressService is the door as a service like any other.
func egressService(door Door) *manifest.Service {
	svc := doorService(egressName, door)
	svc.TCP = []int{EgressPort}
	svc.StopGracePeriod = time.Second
	return svc
}

// egressGrants let the door reach the resolvers, whatever addresses they have:
// the operator has named them.
func egressGrants(resolvers []netip.AddrPort) []monitor.Grant {
	var grants []monitor.Grant
	for _, at := range resolvers {
		grants = append(grants, monitor.Grant{
			From: egressName, Kind: monitor.KindEgress, To: at.String(), Private: true,
			Rates: monitor.Rates{Bytes: monitor.Rate{Amount: monitor.Unlimited}, Connections: monitor.Rate{Amount: monitor.Unlimited}},
			Rule:  "egress.resolver",
		})
	}
	return grants
}

// ResolverAddress is where the door finds its resolver number i, inside.
func ResolverAddress(i int) netip.AddrPort { return netip.AddrPortFrom(loopback(i), 53) }

// doorReach is what the door may connect to.
func doorReach(resolvers []netip.AddrPort) reach {
	var r reach
	for i, at := range resolvers {
		r.ports = append(r.ports, reachable{out: at.String(), at: ResolverAddress(i)})
	}
	return r
}

// wayOut adds to r what svc may reach outside: for each name an address inside,
// and the proxy, which is the only way to an address.
func (r *reach) wayOut(app *manifest.App, service string) {
	at := make(map[string]netip.Addr)
	any := false
	for _, g := range app.GrantsOf(service) {
		if g.Kind != "egress" {
			continue
		}
		any = true
		e, err := address.ParseEndpoint(g.Object())
		if err != nil || e.Name == "" {
			continue // the manifest was checked: this is an address
		}
		addr, known := at[e.Name]
		if !known {
			addr = r.host(e.Name)
			at[e.Name] = addr
		}
		r.ports = append(r.ports, reachable{out: e.String(), at: netip.AddrPortFrom(addr, e.Port)})
	}
	if any {
		r.ports = append(r.ports, reachable{proxy: true, at: netip.AddrPortFrom(r.host(egressName), proxyPort)})
	}
}

// proxyEnv tells programs of the proxy. What resolves inside needs none.
func (r reach) proxyEnv(own []string) []string {
	last := len(r.ports) - 1
	if last < 0 || !r.ports[last].proxy {
		return nil
	}
	direct := []string{"localhost", "127.0.0.1", "::1"}
	for _, h := range r.hosts {
		direct = append(direct, h.Name)
	}
	var env []string
	for name, value := range map[string]string{
		"HTTPS_PROXY": "http://" + net.JoinHostPort(egressName, fmt.Sprint(proxyPort)),
		"NO_PROXY":    strings.Join(direct, ","),
	} {
		for _, spelling := range []string{name, strings.ToLower(name)} {
			if !sets(own, name) && !sets(own, strings.ToLower(name)) {
				env = append(env, spelling+"="+value)
			}
		}
	}
	slices.Sort(env)
	return env
}

func sets(env []string, name string) bool {
	for _, kv := range env {
		if strings.HasPrefix(kv, name+"=") {
			return true
		}
	}
	return false
}

// DecideAddress is [Decide] for an egress to the endpoint object that leads to
// addr.
func DecideAddress(app *manifest.App, subject, object string, addr netip.Addr) (monitor.Verdict, error) {
	resolvers, err := Resolvers(app)
	if err != nil && subject == egressName {
		return monitor.Verdict{}, errors.New("nobody to ask for names")
	}
	policy, err := policyOf(app, resolvers)
	if err != nil {
		return monitor.Verdict{}, err
	}
	return policy.DecideAddress(subject, object, addr, false)
}

// waysOut are the endpoints outside that a service may reach.
func waysOut(app *manifest.App, service string) []string {
	var out []string
	for _, g := range app.GrantsOf(service) {
		if g.Kind == "egress" {
			out = append(out, g.Object())
		}
	}
	if service == telemetryName && app.Traces != nil {
		out = append(out, app.Traces.To.String())
	}
	return out
}
