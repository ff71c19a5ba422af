#include "service/pipeline_service.h"

#include <mutex>

#include "service/file_watch.h"
#include "service/service_core.h"
#include "service/worker_thread.h"

namespace dreamlab {

class PipelineService::Impl {
 public:
  Impl(ServiceOptions options, const std::shared_ptr<ModeRegistry>& modes, const WorkerFactory& factory)
      : core(std::make_shared<ServiceCore>(std::move(options), modes)) {
    try {
      for (int i = 0; i < core->options().workers; ++i) {
        threads_.push_back(std::make_unique<WorkerThread>(core, factory, i));
      }
      if (!modes->named() || core->options().watch_modes_s <= 0) return;
      watch_ =
          std::make_unique<FileWatch>(modes->path(), core->options().watch_modes_s, [this] { core->reload_modes(); });
    } catch (...) {
      core->close();  // the threads that were started wait for work
      throw;
    }
  }

  void shut_down() {
    std::call_once(shut_down_once_, [this] {
      watch_.reset();
      core->close();
      threads_.clear();
      core->finish_deliveries();
    });
  }

  const std::shared_ptr<ServiceCore> core;

 private:
  std::once_flag shut_down_once_;
  std::vector<std::unique_ptr<WorkerThread>> threads_;
  std::unique_ptr<FileWatch> watch_;
};

PipelineService::PipelineService(ServiceOptions options, const std::shared_ptr<ModeRegistry>& modes,
                                 const WorkerFactory& factory)
    : impl_(std::make_unique<Impl>(std::move(options), modes, factory)) {}

PipelineService::~PipelineService() {
  shut_down();
}

std::shared_ptr<JobTicket> PipelineService::submit(JobRequest request, SubmitOptions options) {
  return impl_->core->submit(std::move(request), std::move(options));
}

void PipelineService::switch_mode(const std::string& name, std::function<void(std::exception_ptr)> on_done) {
  impl_->core->switch_mode(name, std::move(on_done));
}

void PipelineService::reload_modes() {
  impl_->core->reload_modes();
}

std::string PipelineService::current_mode() const {
  return impl_->core->current_mode();
}

bool PipelineService::ready() const {
  return impl_->core->ready();
}

std::string PipelineService::load_error() const {
  return impl_->core->load_error();
}

std::shared_ptr<const PipelineWorker> PipelineService::worker() const {
  return impl_->core->worker();
}

ServiceStatistics PipelineService::statistics() const {
  return impl_->core->statistics();
}

void PipelineService::shut_down() {
  impl_->shut_down();
}

}  // namespace dreamlab
