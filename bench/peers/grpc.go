package main

import (
	"context"
	"net"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echo is the service as protoc-gen-go-grpc would have written it.
var echo = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return in, nil
		},
	}},
}

func grpcServe(dir string) error {
	l, err := net.Listen("unix", filepath.Join(dir, "grpc"))
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&echo, nil)
	ready()
	return s.Serve(l)
}

func grpcCall(dir string, size, n int) error {
	c, err := grpc.NewClient("unix:"+filepath.Join(dir, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer c.Close()
	return measure(size, n, func(body []byte) ([]byte, error) {
		var out wrapperspb.BytesValue
		err := c.Invoke(context.Background(), "/bench.Echo/Echo", wrapperspb.Bytes(body), &out)
		return out.Value, err
	})
}
