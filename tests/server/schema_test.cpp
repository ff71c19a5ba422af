#include "server/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/generate_request.h"

namespace dreamlab {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Inner {
  std::string name;
  int level = 1;
};

struct Body {
  std::string title = "none";
  std::optional<int> steps;
  double scale = 1.5;
  bool flag = false;
  std::string format = "png";
  std::optional<Inner> inner;
  std::vector<std::string> list;
  std::string upload;
};

const Schema<Inner>& inner_schema() {
  using S = Schema<Inner>;
  static const S schema({.title = "Inner", .description = "Inside."},
                        {S::field(text("name", "A name.").required(), &Inner::name),
                         S::field(integer("level", 0, 8, "A level.").fallback(int64_t{1}), &Inner::level)});
  return schema;
}

std::vector<Schema<Body>::Field> body_fields() {
  using S = Schema<Body>;
  return {S::field(text("title", "A title.").length(1, 8).required(), &Body::title),
          S::field(integer("steps", 1, 50, "Steps.").nullable(), &Body::steps),
          S::field(number("scale", 0, 20, "A scale.").fallback(1.5), &Body::scale),
          S::field(boolean("flag", "A flag."), &Body::flag),
          S::field(choice("format", {"png", "jpeg"}, "A format."), &Body::format),
          S::nested("inner", inner_schema(), &Body::inner, "An object."),
          S::field(texts("list", "A list.").length(1, 2), &Body::list),
          S::field(integer("side", 8, 64, "A side.").multiples(8), [](Body&, FieldValue&&) {}),
          S::field(text("checked", "Must not be bad."), [](Body&, FieldValue&& value) {
            if (std::get<std::string>(value) == "bad") fail(ErrorKind::invalid_argument, "it is bad");
          })};
}

const Schema<Body>& body_schema() {
  static const Schema<Body> schema({.title = "Body", .description = "A body."}, body_fields());
  return schema;
}

RequestError error_of(std::string_view text) {
  try {
    body_schema().parse_json(text);
  } catch (const RequestError& error) {
    return error;
  }
  ADD_FAILURE() << text << " was taken";
  return {0, "", ""};
}

TEST(Schema, PutsFieldsWhereTheyBelong) {
  const Body body = body_schema().parse_json(
      R"({"title":"t","steps":4,"scale":7,"flag":true,"format":"jpeg","inner":{"name":"n","level":3},"list":["a","b"]})");
  EXPECT_EQ(body.title, "t");
  EXPECT_EQ(body.steps, 4);
  EXPECT_EQ(body.scale, 7);
  EXPECT_TRUE(body.flag);
  EXPECT_EQ(body.format, "jpeg");
  ASSERT_TRUE(body.inner);
  EXPECT_EQ(body.inner->name, "n");
  EXPECT_EQ(body.inner->level, 3);
  EXPECT_EQ(body.list, (std::vector<std::string>{"a", "b"}));
}

TEST(Schema, LeavesWhatIsAbsentOrNullAsItWas) {
  const Body body = body_schema().parse_json(R"({"title":"t","steps":null})");
  EXPECT_EQ(body.steps, std::nullopt);
  EXPECT_EQ(body.scale, 1.5);
  EXPECT_EQ(body.inner, std::nullopt);
}

TEST(Schema, TakesAWholeNumberInAnyNotationForAnInteger) {
  EXPECT_EQ(body_schema().parse_json(R"({"title":"t","steps":4.0})").steps, 4);
  EXPECT_EQ(body_schema().parse_json(R"({"title":"t","steps":1e1})").steps, 10);
}

struct Refusal {
  const char* body;
  const char* field;
  const char* message;
};

class RefusedFields : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedFields, NameFieldValueAndWhatIsAllowed) {
  const RequestError error = error_of(GetParam().body);
  EXPECT_EQ(error.status(), 422);
  EXPECT_EQ(error.field(), GetParam().field);
  EXPECT_STREQ(error.what(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Schema, RefusedFields,
    testing::Values(
        Refusal{R"({"title":"t","steps":51})", "steps", "steps is 51; allowed: an integer in 1..50 or null"},
        Refusal{R"({"title":"t","steps":0})", "steps", "steps is 0; allowed: an integer in 1..50 or null"},
        Refusal{R"({"title":"t","steps":4.5})", "steps", "steps is 4.5; allowed: an integer in 1..50 or null"},
        Refusal{R"({"title":"t","steps":"4"})", "steps", "steps is \"4\"; allowed: an integer in 1..50 or null"},
        Refusal{R"({"title":"t","steps":true})", "steps", "steps is true; allowed: an integer in 1..50 or null"},
        Refusal{R"({"title":"t","steps":99999999999999999999})", "steps",
                "steps is 1e+20; allowed: an integer in 1..50 or null"},
        Refusal{R"({"title":"t","scale":-0.1})", "scale", "scale is -0.1; allowed: a number in 0..20"},
        Refusal{R"({"title":"t","scale":null})", "scale", "scale is null; allowed: a number in 0..20"},
        Refusal{R"({"title":"t","flag":1})", "flag", "flag is 1; allowed: true or false"},
        Refusal{R"({"title":"t","format":"gif"})", "format", "format is \"gif\"; allowed: png, jpeg"},
        Refusal{R"({"title":"t","inner":3})", "inner", "inner is 3; allowed: an object"},
        Refusal{R"({"title":"t","inner":{"name":"n","level":9}})", "inner.level",
                "inner.level is 9; allowed: an integer in 0..8"},
        Refusal{R"({"title":"t","inner":{}})", "inner.name", "inner.name is missing; allowed: a text"},
        Refusal{R"({"title":"t","list":[]})", "list", "list is an array of 0; allowed: an array of 1..2 texts"},
        Refusal{R"({"title":"t","list":["a",2]})", "list",
                "list is an array that holds 2; allowed: an array of 1..2 texts"},
        Refusal{R"({"title":"t","side":9})", "side", "side is 9; allowed: an integer in 8..64, a multiple of 8"},
        Refusal{R"({"title":"t","checked":"bad"})", "checked", "checked: it is bad"},
        Refusal{R"({"title":7})", "title", "title is 7; allowed: a text of 1..8 bytes"},
        Refusal{R"({"title":"123456789"})", "title", "title is of 9 bytes; allowed: a text of 1..8 bytes"},
        Refusal{R"({})", "title", "title is missing; allowed: a text of 1..8 bytes"},
        Refusal{R"({"title":"t","stepz":4})", "stepz",
                "\"stepz\" is no field; allowed: title, steps, scale, flag, format, inner, list, side, checked"},
        Refusal{R"([1])", "", "the body is an array; a JSON object is expected"},
        Refusal{R"("x")", "", "the body is \"x\"; a JSON object is expected"}));

class MalformedBodies : public testing::TestWithParam<Refusal> {};

TEST_P(MalformedBodies, AreAnsweredBy400AndThePlace) {
  const RequestError error = error_of(GetParam().body);
  EXPECT_EQ(error.status(), 400);
  EXPECT_STREQ(error.what(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Schema, MalformedBodies,
    testing::Values(Refusal{"", "", "the body is empty; a JSON object is expected"},
                    Refusal{"{\"title\":\n \"t\",}", "", "the body is not valid JSON at line 2, column 6"},
                    Refusal{"{\"title\":NaN}", "", "the body is not valid JSON at line 1, column 10"},
                    Refusal{"{\"title\":\"\xff\"}", "", "the body is not valid JSON at line 1, column 11"},
                    Refusal{R"({"scale":1e999})", "", "the body has a number that is too large for any field"},
                    Refusal{R"({"title":"a","title":"b"})", "", "\"title\" stands twice in one object"}));

TEST(Schema, RefusesDeepNestingWithoutExhaustingTheStack) {
  const std::string deep = R"({"title":)" + std::string(500'000, '[');
  const RequestError error = error_of(deep);
  EXPECT_EQ(error.status(), 400);
  EXPECT_STREQ(error.what(), "the body is nested deeper than 32 levels");
}

TEST(Schema, KeepsMessagesShortAndOnOneLine) {
  const RequestError error = error_of(R"({"title":"t","format":")" + std::string(5000, 'x') + R"(\n"})");
  EXPECT_LT(std::string(error.what()).size(), 200u);
  EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
}

TEST(Schema, IgnoresUnknownFieldsWhereItSaysSo) {
  const Schema<Body> schema({.title = "Body", .description = "", .unknown = UnknownFields::ignore}, body_fields());
  EXPECT_EQ(schema.parse_json(R"({"title":"t","stepz":[{}]})").title, "t");
}

// --- forms ---

struct Form {
  std::string file;
  int magnitude = 2;
  double share = 0.5;
  bool flag = false;
};

const Schema<Form>& form_schema() {
  using S = Schema<Form>;
  static const S schema(
      {.title = "Form", .description = "A form."},
      {S::field(file("file", "A file.").required(), &Form::file),
       S::field(integer("magnitude", 1, 3, "Passes."), &Form::magnitude),
       S::field(number("share", 0, 1, "A share."), &Form::share), S::field(boolean("flag", "A flag."), &Form::flag)});
  return schema;
}

std::string form_error(std::vector<FormPart> parts) {
  try {
    form_schema().parse_form(std::move(parts));
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 422);
    return error.what();
  }
  return "none";
}

TEST(Schema, ReadsFormsByTheSameRules) {
  const Form form = form_schema().parse_form(
      {{"file", "a.png", "image/png", std::string("\0\1", 2)}, {"magnitude", "", "", "3"}, {"flag", "", "", "true"}});
  EXPECT_EQ(form.file, std::string("\0\1", 2));
  EXPECT_EQ(form.magnitude, 3);
  EXPECT_TRUE(form.flag);

  const FormPart file{"file", "a.png", "", "x"};
  EXPECT_EQ(form_error({}), "file is missing; allowed: a file that is not empty");
  EXPECT_EQ(form_error({{"file", "", "", ""}}), "file is empty; allowed: a file that is not empty");
  EXPECT_EQ(form_error({file, {"magnitude", "", "", "4"}}), "magnitude is 4; allowed: an integer in 1..3");
  EXPECT_EQ(form_error({file, {"magnitude", "", "", "2x"}}), "magnitude is \"2x\"; allowed: an integer in 1..3");
  EXPECT_EQ(form_error({file, {"magnitude", "", "", ""}}), "magnitude is \"\"; allowed: an integer in 1..3");
  EXPECT_EQ(form_error({file, {"share", "", "", "nan"}}), "share is \"nan\"; allowed: a number in 0..1");
  EXPECT_EQ(form_error({file, file}), "file stands twice in the form");
  EXPECT_EQ(form_error({file, {"more", "", "", ""}}), "\"more\" is no field; allowed: file, magnitude, share, flag");
}

// --- the document ---

TEST(Schema, DescribesItselfAsJsonSchema) {
  const json schema = json_schema(*body_schema().rules());
  EXPECT_EQ(schema.at("type"), "object");
  EXPECT_EQ(schema.at("required"), json::array({"title"}));
  EXPECT_EQ(schema.at("additionalProperties"), false);
  const json& fields = schema.at("properties");
  EXPECT_EQ(fields.at("steps").at("type"), json::array({"integer", "null"}));
  EXPECT_EQ(fields.at("steps").at("minimum"), 1);
  EXPECT_EQ(fields.at("steps").at("maximum"), 50);
  EXPECT_EQ(fields.at("scale").at("default"), 1.5);
  EXPECT_EQ(fields.at("format").at("enum"), json::array({"png", "jpeg"}));
  EXPECT_EQ(fields.at("title").at("maxLength"), 8);
  EXPECT_EQ(fields.at("side").at("multipleOf"), 8);
  EXPECT_EQ(fields.at("list").at("items").at("type"), "string");
  EXPECT_EQ(fields.at("inner").at("properties").at("level").at("maximum"), 8);
}

// --- the request of the contract ---

TEST(GenerateSchema, ReadsARequest) {
  const GenerateBody body = generate_schema().parse_json(
      R"({"prompt":"p","negative_prompt":"n","size":"64x32","num_inference_steps":7,"guidance_scale":2.5,"seed":2147483647,
          "scheduler":"Euler a","style_lora":{"style":"ink","level":2},"mode":"m","superres":true,"superres_magnitude":3,
          "superres_format":"jpeg","superres_quality":1,"strength":0.5,"clip_skip":2,"timeout":1.5,"latents":true})");
  EXPECT_EQ(body.prompt, "p");
  EXPECT_EQ(body.negative_prompt, "n");
  EXPECT_EQ(body.size, "64x32");
  EXPECT_EQ(body.steps, 7);
  EXPECT_EQ(body.guidance_scale, 2.5);
  EXPECT_EQ(body.seed, 2147483647u);
  EXPECT_EQ(body.scheduler, "Euler a");
  EXPECT_EQ(body.style->style, "ink");
  EXPECT_EQ(body.style->level, 2);
  EXPECT_EQ(body.mode, "m");
  EXPECT_TRUE(body.superres);
  EXPECT_EQ(body.superres_magnitude, 3);
  EXPECT_EQ(body.superres_format, "jpeg");
  EXPECT_EQ(body.superres_quality, 1);
  EXPECT_EQ(body.strength, 0.5);
  EXPECT_EQ(body.clip_skip, 2);
  EXPECT_EQ(body.timeout_s, 1.5);
  EXPECT_TRUE(body.latents);
}

TEST(GenerateSchema, LeavesDefaultsToTheService) {
  const GenerateBody body = generate_schema().parse_json(R"({"prompt":"","seed":null})");
  EXPECT_EQ(body.size, "");
  EXPECT_EQ(body.steps, std::nullopt);
  EXPECT_EQ(body.guidance_scale, std::nullopt);
  EXPECT_EQ(body.seed, std::nullopt);
  EXPECT_EQ(body.style, std::nullopt);
  EXPECT_FALSE(body.superres);
  EXPECT_EQ(body.superres_magnitude, 2);
  EXPECT_EQ(body.superres_format, "png");
  EXPECT_EQ(body.superres_quality, 92);
}

TEST(GenerateSchema, RefusesWhatTheContractDoesNotAllow) {
  const char* const kRefused[] = {
      R"({"size":"64x64"})",
      R"({"prompt":"p","size":"64"})",
      R"({"prompt":"p","size":"0x64"})",
      R"({"prompt":"p","size":"65x64"})",
      R"({"prompt":"p","size":"8192x64"})",
      R"({"prompt":"p","num_inference_steps":0})",
      R"({"prompt":"p","num_inference_steps":51})",
      R"({"prompt":"p","guidance_scale":-1})",
      R"({"prompt":"p","guidance_scale":20.5})",
      R"({"prompt":"p","seed":-1})",
      R"({"prompt":"p","seed":2147483648})",
      R"({"prompt":"p","scheduler":"nope"})",
      R"({"prompt":"p","style_lora":{"style":"ink","level":9}})",
      R"({"prompt":"p","style_lora":{"level":1}})",
      R"({"prompt":"p","superres_magnitude":4})",
      R"({"prompt":"p","superres_format":"webp"})",
      R"({"prompt":"p","superres_quality":101})",
      R"({"prompt":"p","steps":4})",
  };
  for (const char* body : kRefused) {
    SCOPED_TRACE(body);
    EXPECT_THROW(generate_schema().parse_json(body), RequestError);
  }
}

TEST(GenerateSchema, SaysInvalidSizeFirst) {
  try {
    generate_schema().parse_json(R"({"prompt":"p","size":"12x12"})");
    FAIL();
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 422);
    EXPECT_EQ(error.field(), "size");
    EXPECT_THAT(error.what(), testing::StartsWith("Invalid size"));
  }
}

}  // namespace
}  // namespace dreamlab
