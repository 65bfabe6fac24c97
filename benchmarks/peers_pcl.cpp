// PCL's integral-image normals behind one C function, compiled by benchmarks/peers_pcl.py where PCL's headers are.
#define PCL_NO_PRECOMPILE
#include <pcl/features/integral_image_normal.h>
#include <pcl/point_cloud.h>
#include <pcl/point_types.h>

#include <cmath>
#include <limits>

using Estimation = pcl::IntegralImageNormalEstimation<pcl::PointXYZ, pcl::Normal>;

// Normals (height, width, 3) of depth (height, width) metres, 0 = none; method in PCL's own order, 0 covariance matrix,
// 1 average 3-D gradient, 2 average depth change, 3 simple 3-D gradient; size is the side of the smoothing window.
extern "C" void pcl_normals(const float* depth, int height, int width, float fx, float fy, float cx, float cy,
                            int method, float size, float* out) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  pcl::PointCloud<pcl::PointXYZ>::Ptr cloud(new pcl::PointCloud<pcl::PointXYZ>(width, height));
  cloud->is_dense = false;
  for (int v = 0, i = 0; v < height; ++v) {
    for (int u = 0; u < width; ++u, ++i) {
      const float z = depth[i] > 0 ? depth[i] : nan;
      (*cloud)[i] = pcl::PointXYZ(z * (static_cast<float>(u) - cx) / fx, z * (static_cast<float>(v) - cy) / fy, z);
    }
  }
  Estimation estimation;
  estimation.setNormalEstimationMethod(static_cast<Estimation::NormalEstimationMethod>(method));
  estimation.setMaxDepthChangeFactor(0.02f);
  estimation.setNormalSmoothingSize(size);
  estimation.setInputCloud(cloud);
  pcl::PointCloud<pcl::Normal> normals;
  estimation.compute(normals);
  for (int i = 0; i < height * width; ++i) {
    for (int k = 0; k < 3; ++k) out[3 * i + k] = normals[i].normal[k];
  }
}
