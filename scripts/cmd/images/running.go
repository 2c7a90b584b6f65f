package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	cloudrun "cloud.google.com/go/run/apiv2"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// deployed reads which images the services' stable revisions and the jobs have. What
// terraform gave a service last may have been taken back since, and must not come again
// with whatever is applied next.
func deployed(ctx context.Context, w world, project, region string, functions []string) (map[string]string, error) {
	if project == "" || region == "" {
		return nil, errors.New("which deployment? Give --project and --region, or set TF_VAR_project and TF_VAR_region")
	}
	var options []option.ClientOption
	if endpoint, ok := w.lookup("CLOUD_ENDPOINT"); ok { // a stand-in, as for scripts/rollout
		options = []option.ClientOption{
			option.WithEndpoint(endpoint), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		}
	}
	services, err := cloudrun.NewServicesClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = services.Close() }()
	jobsClient, err := cloudrun.NewJobsClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = jobsClient.Close() }()
	revisions, err := cloudrun.NewRevisionsClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = revisions.Close() }()

	images := map[string]string{}
	var missing []string
	note := func(name string, containers []*runpb.Container, err error) error {
		switch {
		case status.Code(err) == codes.NotFound:
			missing = append(missing, name)
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case len(containers) == 0:
			return fmt.Errorf("%s: it has no container", name)
		default:
			images[name] = containers[0].GetImage()
		}
		return nil
	}
	where := fmt.Sprintf("projects/%s/locations/%s", project, region)
	for _, name := range functions {
		s, err := services.GetService(ctx, &runpb.GetServiceRequest{Name: where + "/services/" + name})
		containers := s.GetTemplate().GetContainers()
		if revision := stable(s); revision != "" {
			var r *runpb.Revision
			r, err = revisions.GetRevision(ctx, &runpb.GetRevisionRequest{Name: s.GetName() + "/revisions/" + revision})
			containers = r.GetContainers()
		}
		if err := note(name, containers, err); err != nil {
			return nil, err
		}
	}
	for _, name := range jobs {
		j, err := jobsClient.GetJob(ctx, &runpb.GetJobRequest{Name: where + "/jobs/" + name})
		if err := note(name, j.GetTemplate().GetTemplate().GetContainers(), err); err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("not deployed: %v; nothing is written, since terraform takes all images or none", missing)
	}
	return images, nil
}

// stable is the revision that scripts/rollout keeps the service's requests on; empty for a
// service whose newest takes over by itself.
func stable(s *runpb.Service) string {
	for _, t := range s.GetTraffic() {
		if t.GetTag() == "stable" {
			return path.Base(t.GetRevision())
		}
	}
	return ""
}
