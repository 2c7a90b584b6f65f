// Package cloudtest stands in for what scripts/rollout and scripts/images use of Google
// Cloud: Cloud Run's services and jobs, the addresses of its revisions, Cloud
// Monitoring's metrics of them, and tokens of service accounts. It speaks the services'
// own protocols on loopback, so the real client libraries talk to it, and it refuses
// what the real ones refuse.
//
// It keeps services with revisions and the history of their traffic; from that history
// and what a revision is said to do with its requests it makes the metrics.
package cloudtest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Where everything is.
const (
	Project = "demo"
	Region  = "asia-northeast1"
)

// A Cloud is one project in one region.
type Cloud struct {
	now    func() time.Time
	addr   string
	grpc   *grpc.Server
	tagged *httptest.Server

	mu         sync.Mutex
	services   map[string]*service
	jobs       map[string]*job
	operations map[string]*operation
	stuck      bool // what begins is never done
	loads      map[string]load
	behaviours map[string]Behaviour    // by revision
	handlers   map[string]http.Handler // by revision
	fails      func(call, resource string) error
	tokens     map[string]token
	calls      []string
}

// Start serves an empty project on a free port of loopback. Now is when traffic changes
// and what the metrics end at.
func Start(now func() time.Time) (*Cloud, error) {
	c := &Cloud{
		now: now, services: map[string]*service{}, jobs: map[string]*job{}, operations: map[string]*operation{},
		loads: map[string]load{}, behaviours: map[string]Behaviour{}, tokens: map[string]token{},
		handlers: map[string]http.Handler{},
		fails:    func(string, string) error { return nil },
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c.addr = listener.Addr().String()
	c.grpc = grpc.NewServer(grpc.UnaryInterceptor(c.intercept))
	runpb.RegisterServicesServer(c.grpc, services{cloud: c})
	runpb.RegisterRevisionsServer(c.grpc, revisions{cloud: c})
	runpb.RegisterJobsServer(c.grpc, jobs{cloud: c})
	longrunningpb.RegisterOperationsServer(c.grpc, operations{cloud: c})
	monitoringpb.RegisterMetricServiceServer(c.grpc, metrics{cloud: c})
	credentialspb.RegisterIAMCredentialsServer(c.grpc, tokens{cloud: c})
	c.tagged = httptest.NewServer(http.HandlerFunc(c.serveTagged))
	go func() { _ = c.grpc.Serve(listener) }() // until Close
	return c, nil
}

// Close ends it.
func (c *Cloud) Close() {
	c.grpc.Stop()
	c.tagged.Close()
}

// Endpoint is its address, for CLOUD_ENDPOINT.
func (c *Cloud) Endpoint() string { return c.addr }

// Fail makes calls fail. The function gets the method's name and the resource's short
// name, such as UpdateService and createpayment, and returns the error, or nil.
func (c *Cloud) Fail(fails func(call, resource string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails = fails
}

// Calls are the methods called so far with their resources, in order.
func (c *Cloud) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// intercept fails calls as told, before they do anything.
func (c *Cloud) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	call, resource := path(info.FullMethod), path(resourceOf(request))
	c.mu.Lock()
	c.calls = append(c.calls, call+" "+resource)
	fails := c.fails
	c.mu.Unlock()
	if err := fails(call, resource); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func resourceOf(request any) string {
	switch r := request.(type) {
	case *runpb.UpdateServiceRequest:
		return r.GetService().GetName()
	case interface{ GetName() string }:
		return r.GetName()
	default:
		return ""
	}
}

// path is the last part of a resource's name.
func path(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}

func parent(kind, name string) string {
	return fmt.Sprintf("projects/%s/locations/%s/%s/%s", Project, Region, kind, name)
}

// Services are the names of the services, in order.
func (c *Cloud) Services() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.services))
}

func notFound(name string) error { return status.Error(codes.NotFound, "there is no "+name) }
