package cloudtest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// service is one with its past.
type service struct {
	*runpb.Service
	revisions []string
	history   []change // of its traffic, the oldest first
	writes    int
}

type change struct {
	at      time.Time
	percent map[string]int32 // by revision
}

const image = Region + "-docker.pkg.dev/" + Project + "/tollgate/"

// Deploy does what terraform apply does for one function: it makes the service, all of
// whose requests go to its newest revision, or a new revision of it, which gets requests
// only if the traffic says so. Ready is whether the revision's startup probe answers.
func (c *Cloud) Deploy(name, revision string, ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.services[name]
	if s == nil {
		s = &service{Service: &runpb.Service{
			Name: parent("services", name), Ingress: runpb.IngressTraffic_INGRESS_TRAFFIC_ALL,
			Uri: c.tagged.URL + "/service---" + name,
			Traffic: []*runpb.TrafficTarget{{
				Type:    runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST,
				Percent: 100,
			}},
		}}
		c.services[name] = s
	}
	s.revisions = append(s.revisions, revision)
	s.LatestCreatedRevision = s.GetName() + "/revisions/" + revision
	s.Template = &runpb.RevisionTemplate{Containers: []*runpb.Container{{
		Image: image + name + "@" + digest(revision),
		Env: []*runpb.EnvVar{{
			Name: "OIDC_AUDIENCE", Values: &runpb.EnvVar_Value{Value: audience(name)},
		}},
	}}}
	s.TerminalCondition = &runpb.Condition{Type: "Ready", State: runpb.Condition_CONDITION_SUCCEEDED}
	if ready {
		s.LatestReadyRevision = s.LatestCreatedRevision
	} else {
		s.TerminalCondition = &runpb.Condition{
			Type: "Ready", State: runpb.Condition_CONDITION_FAILED,
			Message: "The user-provided container failed the configured startup probe checks.",
		}
	}
	c.settle(s)
}

func audience(name string) string { return "https://" + name + "-1234567890." + Region + ".run.app" }

func digest(revision string) string { return "sha256:" + fmt.Sprintf("%064x", revision)[:64] }

// Internal closes a service to callers from outside.
func (c *Cloud) Internal(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[name].Ingress = runpb.IngressTraffic_INGRESS_TRAFFIC_INTERNAL_ONLY
}

// settle brings the traffic's state in line with the traffic, as Cloud Run does.
func (c *Cloud) settle(s *service) {
	s.writes++
	s.Etag = strconv.Quote(strconv.Itoa(s.writes))
	s.TrafficStatuses = nil
	now := map[string]int32{}
	for _, t := range s.GetTraffic() {
		to := &runpb.TrafficTargetStatus{Type: t.GetType(), Revision: t.GetRevision(), Percent: t.GetPercent(), Tag: t.GetTag()}
		if t.GetTag() != "" {
			to.Uri = c.tagged.URL + "/" + t.GetTag() + "---" + path(s.GetName())
		}
		s.TrafficStatuses = append(s.TrafficStatuses, to)
		now[s.target(t)] += t.GetPercent()
	}
	s.history = append(s.history, change{c.now(), now})
}

// target is the revision that a target means.
func (s *service) target(t *runpb.TrafficTarget) string {
	if t.GetType() == runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST {
		return path(s.GetLatestReadyRevision())
	}
	return t.GetRevision()
}

// Traffic describes who gets a service's requests: each target's revision, percent and
// tag, such as "a-1 95 stable, a-2 5 canary".
func (c *Cloud) Traffic(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.services[name]
	if s == nil {
		return ""
	}
	var parts []string
	for _, t := range s.GetTraffic() {
		revision := t.GetRevision()
		if revision == "" {
			revision = "LATEST"
		}
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %d %s", revision, t.GetPercent(), t.GetTag())))
	}
	return strings.Join(parts, ", ")
}

// Shift sets the traffic by hand, as an operator does with gcloud.
func (c *Cloud) Shift(name string, targets ...*runpb.TrafficTarget) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[name].Traffic = targets
	c.settle(c.services[name])
}

// services serves Cloud Run's services.
type services struct {
	runpb.UnimplementedServicesServer
	cloud *Cloud
}

func (s services) GetService(_ context.Context, r *runpb.GetServiceRequest) (*runpb.Service, error) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	have := s.cloud.services[path(r.GetName())]
	if have == nil || r.GetName() != have.GetName() {
		return nil, notFound(r.GetName())
	}
	return proto.CloneOf(have.Service), nil
}

func (s services) UpdateService(_ context.Context, r *runpb.UpdateServiceRequest) (*longrunningpb.Operation, error) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	have := s.cloud.services[path(r.GetService().GetName())]
	if have == nil {
		return nil, notFound(r.GetService().GetName())
	}
	if got := r.GetUpdateMask().GetPaths(); !slices.Equal(got, []string{"traffic"}) {
		return nil, status.Errorf(codes.InvalidArgument, "the mask is %v: this would change more than the traffic", got)
	}
	if r.GetService().GetEtag() != have.GetEtag() {
		return nil, status.Errorf(codes.Aborted, "conflict: the etag is %s, not %s", have.GetEtag(), r.GetService().GetEtag())
	}
	if err := have.valid(r.GetService().GetTraffic()); err != nil {
		return nil, err
	}
	have.Traffic = r.GetService().GetTraffic()
	s.cloud.settle(have)
	return s.cloud.begin(proto.CloneOf(have.Service))
}

// revisions serves the revisions of Cloud Run's services.
type revisions struct {
	runpb.UnimplementedRevisionsServer
	cloud *Cloud
}

func (r revisions) GetRevision(_ context.Context, q *runpb.GetRevisionRequest) (*runpb.Revision, error) {
	r.cloud.mu.Lock()
	defer r.cloud.mu.Unlock()
	of, revision, _ := strings.Cut(q.GetName(), "/revisions/")
	name := path(of)
	if s := r.cloud.services[name]; s == nil || s.GetName() != of || !slices.Contains(s.revisions, revision) {
		return nil, notFound(q.GetName())
	}
	return &runpb.Revision{Name: q.GetName(), Containers: []*runpb.Container{{Image: image + name + "@" + digest(revision)}}}, nil
}

var tag = regexp.MustCompile(`^[a-z][a-z0-9-]{0,45}[a-z0-9]$`)

// valid refuses what Cloud Run refuses of a service's traffic.
func (s *service) valid(targets []*runpb.TrafficTarget) error {
	var sum int32
	tags := map[string]bool{}
	for _, t := range targets {
		sum += t.GetPercent()
		switch {
		case t.GetType() == runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION && !slices.Contains(s.revisions, t.GetRevision()):
			return status.Errorf(codes.InvalidArgument, "revision %q does not exist", t.GetRevision())
		case t.GetPercent() < 0 || t.GetPercent() == 0 && t.GetTag() == "":
			return status.Errorf(codes.InvalidArgument, "revision %s: %d percent without a tag", t.GetRevision(), t.GetPercent())
		case t.GetTag() != "" && (!tag.MatchString(t.GetTag()) || tags[t.GetTag()]):
			return status.Errorf(codes.InvalidArgument, "tag %q", t.GetTag())
		}
		tags[t.GetTag()] = true
	}
	if sum != 100 {
		return status.Errorf(codes.InvalidArgument, "the percentages add up to %d", sum)
	}
	return nil
}

// An operation is done when it is asked for the second time, so that nobody takes the
// first answer for the result.
type operation struct {
	name   string
	result proto.Message
	asked  int
	stuck  bool
}

func (c *Cloud) begin(result proto.Message) (*longrunningpb.Operation, error) {
	o := &operation{name: parent("operations", strconv.Itoa(len(c.operations)+1)), result: result, stuck: c.stuck}
	c.operations[o.name] = o
	return o.state()
}

func (o *operation) state() (*longrunningpb.Operation, error) {
	state := &longrunningpb.Operation{Name: o.name}
	if o.asked > 1 && !o.stuck {
		packed, err := anypb.New(o.result)
		if err != nil {
			return nil, err
		}
		state.Done, state.Result = true, &longrunningpb.Operation_Response{Response: packed}
	}
	return state, nil
}

// Stuck makes the operations that begin from now on go on for ever, or not any more.
func (c *Cloud) Stuck(stuck bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = stuck
}

type operations struct {
	longrunningpb.UnimplementedOperationsServer
	cloud *Cloud
}

func (o operations) GetOperation(_ context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	o.cloud.mu.Lock()
	defer o.cloud.mu.Unlock()
	have := o.cloud.operations[r.GetName()]
	if have == nil {
		return nil, notFound(r.GetName())
	}
	have.asked++
	return have.state()
}

// job is one, and whether its executions succeed.
type job struct {
	*runpb.Job
	succeeds bool
	runs     int
}

// AddJob makes a job whose executions succeed or fail.
func (c *Cloud) AddJob(name string, succeeds bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs[name] = &job{succeeds: succeeds, Job: &runpb.Job{
		Name: parent("jobs", name),
		Template: &runpb.ExecutionTemplate{Template: &runpb.TaskTemplate{
			Containers: []*runpb.Container{{Image: image + name + "@" + digest(name)}},
		}},
	}}
}

// Runs counts a job's executions.
func (c *Cloud) Runs(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[name].runs
}

type jobs struct {
	runpb.UnimplementedJobsServer
	cloud *Cloud
}

func (j jobs) GetJob(_ context.Context, r *runpb.GetJobRequest) (*runpb.Job, error) {
	j.cloud.mu.Lock()
	defer j.cloud.mu.Unlock()
	have := j.cloud.jobs[path(r.GetName())]
	if have == nil {
		return nil, notFound(r.GetName())
	}
	return proto.CloneOf(have.Job), nil
}

func (j jobs) RunJob(_ context.Context, r *runpb.RunJobRequest) (*longrunningpb.Operation, error) {
	j.cloud.mu.Lock()
	defer j.cloud.mu.Unlock()
	have := j.cloud.jobs[path(r.GetName())]
	if have == nil {
		return nil, notFound(r.GetName())
	}
	have.runs++
	e := &runpb.Execution{
		Name: have.GetName() + "/executions/" + strconv.Itoa(have.runs), TaskCount: 1,
		LogUri: "https://console.cloud.google.com/logs/viewer?project=" + Project,
	}
	if have.succeeds {
		e.SucceededCount = 1
	} else {
		e.FailedCount = 1
	}
	return j.cloud.begin(e)
}
