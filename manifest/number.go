package manifest

import (
	"fmt"
	"hash/fnv"
)

// numberRoutes gives routes and doors the numbers by which the gateway and the monitor speak of them. When the
// manifest changes, a gateway of the old one and the policy of the new one meet; so a number is made of what a route
// is, and another route does not get it. It is from 0 to 2^30-1.
func (g *Gateway) numberRoutes() {
	taken := make(map[int]string)
	number := func(what string) int {
		h := fnv.New32a()
		h.Write([]byte(what))
		n := int(h.Sum32() >> 2)
		for taken[n] != "" && taken[n] != what {
			n = (n + 1) % (1 << 30)
		}
		taken[n] = what
		return n
	}
	for i := range g.Routes {
		r := &g.Routes[i]
		r.Number = number(fmt.Sprintf("route %q %q %q %q %q %t", r.Path, r.To, r.Nobody, r.Request, r.Answer, r.Lenient))
	}
	for i := range g.TCP {
		g.TCP[i].Number = number(fmt.Sprintf("door %q %q", g.TCP[i].Listen, g.TCP[i].To))
	}
}
