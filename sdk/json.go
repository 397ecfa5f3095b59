package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"cofferdam/wire"
)

// JSON makes a handler of a function on values. A request must be one JSON value
// without fields that Req does not have, or else it is ErrMalformed; an empty one
// is the zero Req.
func JSON[Req, Resp any](handle func(ctx context.Context, caller Caller, req Req) (Resp, error)) Handler {
	return func(ctx context.Context, caller Caller, body []byte) ([]byte, error) {
		var req Req
		if err := decodeStrict(body, &req); err != nil {
			return nil, wire.Error{Code: wire.Malformed, Message: err.Error()}
		}
		resp, err := handle(ctx, caller, req)
		if err != nil {
			return nil, err
		}
		return json.Marshal(resp)
	}
}

func decodeStrict(body []byte, v any) error {
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more after the value")
	}
	return nil
}

// CallJSON is [Client.Call] with a request and a reply in JSON. args nil sends an
// empty request; result nil ignores the reply.
func (c *Client) CallJSON(ctx context.Context, name string, args, result any) error {
	var body []byte
	if args != nil {
		var err error
		if body, err = json.Marshal(args); err != nil {
			return &CallError{Op: "call", Name: name, Err: wire.Error{Code: wire.Malformed, Message: err.Error()}}
		}
	}
	out, err := c.Call(ctx, name, body)
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(out, result); err != nil {
		return &CallError{Op: "call", Name: name, Err: fmt.Errorf("reply: %w", err)}
	}
	return nil
}
