package dynamic

import (
	"encoding/json"

	"cofferdam/examples/zoobar/calls"
)

// act makes a call for the visitor, and shows that it does: that the monitor lets it
// is what the other service believes, whatever else the request says.
func (p *page) act(call string, args any) ([]byte, error) {
	body, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	acting, err := calls.Acting(p.session.User)
	if err != nil {
		return nil, err
	}
	reply, err := p.site.peers.CallWith(p.r.Context(), call, body, acting)
	return reply.Body, err
}

// actJSON is act for a reply in JSON.
func (p *page) actJSON(call string, args, result any) error {
	body, err := p.act(call, args)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, result)
}
