#include "model/submodule.h"

#include <charconv>
#include <regex>
#include <string>

#include "base/error.h"
#include "layer/attention.h"
#include "layer/conv2d.h"
#include "layer/norm.h"
#include "layer/resnet.h"
#include "layer/timestep_embedding.h"
#include "layer/transformer.h"

namespace dreamlab {
namespace {

constexpr double kVaeNormEps = 1e-6, kTransformerNormEps = 1e-6;

struct Module {
  const Context& context;
  LayerScope scope;
  const SubmoduleInput& input;
  std::string path;
};

struct UNetModule : Module {
  const UNetConfig& config;
};
struct VaeModule : Module {
  const VaeConfig& config;
};

// A module's dimensions, read off its weights.
Shape weight_shape(const Module& module, const std::string& child) {
  const WeightScope scope = child.empty() ? module.scope.weights : module.scope.weights / child;
  const std::optional<Shape> shape = scope.shape_of("weight");
  if (!shape) fail(ErrorKind::invalid_file, "there is no tensor {}.weight", scope.path());
  return *shape;
}

int64_t level_of(const UNetModule& module) {
  const auto last = static_cast<int64_t>(module.config.block_out_channels.size()) - 1;
  const auto index_after = [&](std::string_view prefix) {
    int64_t index = 0;
    const char* first = module.path.data() + prefix.size();
    std::from_chars(first, module.path.data() + module.path.size(), index);
    if (index > last) fail(ErrorKind::unsupported, "{}: the UNet has {} levels", module.path, last + 1);
    return index;
  };
  if (module.path.starts_with("down_blocks.")) return index_after("down_blocks.");
  if (module.path.starts_with("up_blocks.")) return last - index_after("up_blocks.");
  return last;
}

int64_t heads_of(const UNetModule& module) {
  return module.config.heads[static_cast<size_t>(level_of(module))];
}

Tensor run_linear(const Module& module) {
  const Shape shape = weight_shape(module, "");
  const Bias bias = module.scope.weights.contains("bias") ? Bias::present : Bias::none;
  return Linear(module.scope, shape[1], shape[0], bias).forward(module.context, module.input.x);
}

Tensor run_conv(const Module& module) {
  const Shape shape = weight_shape(module, "");
  return Conv2d(module.scope, shape[1], shape[0]).forward(module.context, module.input.x);
}

Tensor run_group_norm(const Module& module, int64_t groups, double eps) {
  return GroupNorm(module.scope, weight_shape(module, "")[0], groups, eps).forward(module.context, module.input.x);
}

Tensor run_layer_norm(const UNetModule& module) {
  return LayerNorm(module.scope, weight_shape(module, "")[0]).forward(module.context, module.input.x);
}

Tensor run_resnet(const Module& module, int64_t time_channels, int64_t groups, double eps) {
  const Shape shape = weight_shape(module, "conv1");
  const ResnetBlock block(module.scope, {shape[1], shape[0], time_channels, groups, eps});
  const Tensor time =
      time_channels > 0 ? module.context.device.activate(module.input.temb, Activation::silu) : Tensor();
  return block.forward(module.context, module.input.x, time);
}

Tensor run_downsample(const Module& module, DownsamplePadding padding) {
  return Downsample(module.scope, weight_shape(module, "conv")[0], padding).forward(module.context, module.input.x);
}

Tensor run_upsample(const Module& module) {
  return Upsample(module.scope, weight_shape(module, "conv")[0])
      .forward(module.context, module.input.x, module.input.size);
}

Tensor run_transformer(const UNetModule& module) {
  int64_t depth = 0;
  while (module.scope.weights.contains("transformer_blocks." + std::to_string(depth) + ".norm1.weight")) ++depth;
  const Transformer2D transformer(module.scope, weight_shape(module, "norm")[0], module.config.cross_attention_dim,
                                  heads_of(module), depth, module.config.norm_num_groups);
  std::vector<Tensor> keys_values;
  transformer.project_text(module.context, module.input.encoder_hidden_states, keys_values);
  std::span<const Tensor> rest = keys_values;
  return transformer.forward(module.context, module.input.x, rest);
}

Tensor run_transformer_block(const UNetModule& module) {
  const BasicTransformerBlock block(module.scope, weight_shape(module, "norm1")[0], module.config.cross_attention_dim,
                                    heads_of(module));
  const Tensor keys_values = block.project_text(module.context, module.input.encoder_hidden_states);
  return block.forward(module.context, module.input.x, keys_values);
}

Tensor run_self_attention(const UNetModule& module) {
  return SelfAttention(module.scope, weight_shape(module, "to_q")[0], heads_of(module))
      .forward(module.context, module.input.x);
}

Tensor run_cross_attention(const UNetModule& module) {
  const CrossAttention attention(module.scope, weight_shape(module, "to_q")[0], module.config.cross_attention_dim,
                                 heads_of(module));
  const Tensor keys_values = attention.project_text(module.context, module.input.encoder_hidden_states);
  return attention.forward(module.context, module.input.x, keys_values);
}

Tensor run_feed_forward(const UNetModule& module) {
  return FeedForward(module.scope, weight_shape(module, "net.2")[0]).forward(module.context, module.input.x);
}

Tensor run_geglu(const UNetModule& module) {
  const Shape shape = weight_shape(module, "proj");
  return Geglu(module.scope, shape[1], shape[0] / 2).forward(module.context, module.input.x);
}

Tensor run_time_embedding(const UNetModule& module) {
  const int64_t width = module.config.block_out_channels[0];
  const auto rows = static_cast<int64_t>(module.input.timesteps.size());
  const std::vector<float> values =
      sinusoidal_embedding(module.input.timesteps, width, {module.config.flip_sin_to_cos, module.config.freq_shift});
  const TimestepEmbedding embedding(module.scope, width, weight_shape(module, "linear_1")[0]);
  return embedding.forward(module.context, module.context.device.upload(values, Shape{rows, width}));
}

template <typename ModuleType>
struct Rule {
  const char* pattern;  // of the end of the path, at a dot
  Tensor (*run)(const ModuleType&);
};

constexpr Rule<UNetModule> kUNetRules[] = {
    {"conv_in|conv_out", [](const UNetModule& m) { return run_conv(m); }},
    {"time_embedding", run_time_embedding},
    {"resnets\\.\\d+",
     [](const UNetModule& m) {
       return run_resnet(m, weight_shape(m, "time_emb_proj")[1], m.config.norm_num_groups, m.config.norm_eps);
     }},
    {"resnets\\.\\d+\\.norm[12]|conv_norm_out",
     [](const UNetModule& m) { return run_group_norm(m, m.config.norm_num_groups, m.config.norm_eps); }},
    {"attentions\\.\\d+", run_transformer},
    {"attentions\\.\\d+\\.norm",
     [](const UNetModule& m) { return run_group_norm(m, m.config.norm_num_groups, kTransformerNormEps); }},
    {"attentions\\.\\d+\\.proj_(in|out)|ff\\.net\\.2", [](const UNetModule& m) { return run_linear(m); }},
    {"transformer_blocks\\.\\d+", run_transformer_block},
    {"attn1", run_self_attention},
    {"attn2", run_cross_attention},
    {"transformer_blocks\\.\\d+\\.norm[123]", run_layer_norm},
    {"ff", run_feed_forward},
    {"ff\\.net\\.0", run_geglu},
    {"downsamplers\\.0", [](const UNetModule& m) { return run_downsample(m, DownsamplePadding::both_sides); }},
    {"upsamplers\\.0", [](const UNetModule& m) { return run_upsample(m); }},
};

constexpr Rule<VaeModule> kVaeRules[] = {
    {"quant_conv|post_quant_conv", [](const VaeModule& m) { return run_linear(m); }},
    {"conv_in|conv_out", [](const VaeModule& m) { return run_conv(m); }},
    {"resnets\\.\\d+", [](const VaeModule& m) { return run_resnet(m, 0, m.config.norm_num_groups, kVaeNormEps); }},
    {"resnets\\.\\d+\\.norm[12]|conv_norm_out",
     [](const VaeModule& m) { return run_group_norm(m, m.config.norm_num_groups, kVaeNormEps); }},
    {"attentions\\.0",
     [](const VaeModule& m) {
       const VaeAttention attention(m.scope, weight_shape(m, "to_q")[0], m.config.norm_num_groups, kVaeNormEps);
       return attention.forward(m.context, m.input.x);
     }},
    {"downsamplers\\.0", [](const VaeModule& m) { return run_downsample(m, DownsamplePadding::right_and_bottom); }},
    {"upsamplers\\.0", [](const VaeModule& m) { return run_upsample(m); }},
};

template <typename ModuleType, size_t count>
Tensor run_first_match(const Rule<ModuleType> (&rules)[count], const ModuleType& module) {
  for (const Rule<ModuleType>& rule : rules)
    if (std::regex_match(module.path, std::regex("(.*\\.)?(" + std::string(rule.pattern) + ")")))
      return rule.run(module);
  fail(ErrorKind::unsupported, "there is no way to run the module {} by itself", module.path);
}

}  // namespace

Tensor run_submodule(const Context& context, const WeightSource& weights, const UNetConfig& config,
                     std::string_view path, const SubmoduleInput& input) {
  // diffusers' sinusoid has no weights of its own
  const std::string module(path == "time_proj+time_embedding" ? "time_embedding" : path);
  const LayerScope scope{context.device, WeightScope(weights, module), "unet"};
  return run_first_match(kUNetRules, UNetModule{{context, scope, input, module}, config});
}

Tensor run_submodule(const Context& context, const WeightSource& weights, const VaeConfig& config,
                     std::string_view path, const SubmoduleInput& input) {
  const std::string module(path);
  const LayerScope scope{context.device, WeightScope(weights, module), "vae"};
  return run_first_match(kVaeRules, VaeModule{{context, scope, input, module}, config});
}

}  // namespace dreamlab
