package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	credentials "cloud.google.com/go/iam/credentials/apiv1"
	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	cloudrun "cloud.google.com/go/run/apiv2"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// A session is a command's connection to one deployment.
type session struct {
	project, region string
	functions       []string
	clock           clock
	http            *http.Client

	services *cloudrun.ServicesClient
	jobs     *cloudrun.JobsClient
	metrics  *monitoring.MetricClient
	tokens   *credentials.IamCredentialsClient
	closers  []io.Closer

	mu  sync.Mutex // over out
	out io.Writer
}

// open makes the clients, with the credentials that the machine has: an operator's, or
// the build's account.
func open(ctx context.Context, w world, project, region string) (*session, error) {
	functions, err := functionNames(w.root)
	if err != nil {
		return nil, err
	}
	s := &session{project: project, region: region, functions: functions, clock: w.clock, http: w.http, out: w.out}
	var options []option.ClientOption
	if endpoint, ok := w.lookup("CLOUD_ENDPOINT"); ok {
		options = []option.ClientOption{
			option.WithEndpoint(endpoint), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		}
	}
	problems := []error{
		connect(ctx, s, &s.services, cloudrun.NewServicesClient, options),
		connect(ctx, s, &s.jobs, cloudrun.NewJobsClient, options),
		connect(ctx, s, &s.metrics, monitoring.NewMetricClient, options),
		connect(ctx, s, &s.tokens, credentials.NewIamCredentialsClient, options),
	}
	if err := errors.Join(problems...); err != nil {
		s.close()
		return nil, fmt.Errorf("no connection to Google Cloud (gcloud auth application-default login gives credentials): %w", err)
	}
	// Retries are persist's.
	once := []gax.CallOption{gax.WithTimeout(callTime)}
	s.services.CallOptions.GetService = once
	s.services.LROClient.CallOptions.GetOperation = once
	s.jobs.LROClient.CallOptions.GetOperation = once
	s.metrics.CallOptions.ListTimeSeries = once
	s.tokens.CallOptions.GenerateIdToken = once
	return s, nil
}

// callTime bounds one call of an API.
const callTime = 20 * time.Second

// connect makes a client, to be closed with the session.
func connect[C io.Closer](ctx context.Context, s *session, place *C, dial func(context.Context, ...option.ClientOption) (C, error), options []option.ClientOption) error {
	client, err := dial(ctx, options...)
	if err != nil {
		return err
	}
	*place = client
	s.closers = append(s.closers, client)
	return nil
}

func (s *session) close() {
	for _, c := range s.closers {
		_ = c.Close() // nothing is left to send
	}
}

// say prints a line for people.
func (s *session) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
